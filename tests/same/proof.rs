//! Holds conversations with a PostgreSQL directly and through a small pool that many others press upon, and
//! compares the transcripts. Owns the stage of that; never knows what is said.

use crate::{
    conversation::{Conversation, Promise},
    support::{
        crowd::{self, Crowd},
        stage::Stage,
    },
    transcript::{SILENCE, Transcript},
};

/// Conversations that may wait in vain before the rest is given up.
const SILENCES_MAX: usize = 3;

/// What the conversations need besides, made once, so that its numbers stay the same.
const OBJECTS: &str = "
CREATE TABLE parents (id int PRIMARY KEY);
CREATE TABLE children (id int, parent int REFERENCES parents DEFERRABLE INITIALLY DEFERRED);
CREATE SEQUENCE numbers;
CREATE FUNCTION shout(words text) RETURNS text LANGUAGE plpgsql AS
    $$ BEGIN RAISE NOTICE 'shouting %', words; RETURN upper(words); END $$;
CREATE FUNCTION set_quietly(setting text, value text) RETURNS text LANGUAGE plpgsql AS
    $$ BEGIN RETURN set_config(setting, value, false); END $$;
CREATE FUNCTION divide(a int, b int) RETURNS int LANGUAGE sql AS 'SELECT a / b';
CREATE PROCEDURE in_two_transactions() LANGUAGE plpgsql AS
    $$ BEGIN INSERT INTO items VALUES (901, 'one'); COMMIT; DELETE FROM items WHERE id = 901; COMMIT; END $$;
CREATE TYPE mood AS ENUM ('calm', 'cross');
GRANT ALL ON ALL TABLES IN SCHEMA public TO app, reader, writer;
GRANT ALL ON SEQUENCE numbers TO app;
";

/// The usual one, with all that is talked about.
pub(crate) fn stage() -> Stage {
    stage_with(&[])
}

/// The same, with these lines more about the pool.
pub(crate) fn stage_with(lines: &[&str]) -> Stage {
    stage_of(crowd::POOL, lines)
}

/// The same, with so many server connections.
pub(crate) fn stage_of(size: usize, lines: &[&str]) -> Stage {
    let stage = crowd::stage_of(size, lines);
    stage.sql(OBJECTS);
    stage
}

/// Fails with every conversation that differs.
pub(crate) fn prove(seed: u64, conversations: impl IntoIterator<Item = Conversation>) {
    prove_on(&stage(), seed, conversations);
}

/// The same on a stage that was made ready for it.
pub(crate) fn prove_on(
    stage: &Stage,
    seed: u64,
    conversations: impl IntoIterator<Item = Conversation>,
) {
    let conversations: Vec<_> = conversations.into_iter().collect();
    let direct: Vec<_> = conversations
        .iter()
        .map(|one| hold_directly(one, stage))
        .collect();
    let crowd = Crowd::gather(stage.proxy.address(), seed, crowd::USUAL);
    let mut complaints = Vec::new();
    for (conversation, direct) in conversations.iter().zip(&direct) {
        let silent = complaints
            .iter()
            .filter(|text: &&String| text.contains(SILENCE));
        if silent.count() >= SILENCES_MAX {
            complaints.push("  the rest was not held: too many waited in vain".to_owned());
            break;
        }
        complaints.extend(differs(conversation, direct, stage));
    }
    let different = complaints.len();
    complaints.extend(crowd.disperse());
    assert!(
        complaints.is_empty(),
        "seed {seed}: {different} of {} conversations differ, {} others complain\n\n{}",
        conversations.len(),
        complaints.len() - different,
        complaints.join("\n")
    );
}

/// Twice, to be sure that it is the same each time.
fn hold_directly(conversation: &Conversation, stage: &Stage) -> Transcript {
    let address = stage.server.primary.address();
    let [first, second] = [(); 2].map(|()| conversation.hold(address, stage));
    if let Some(difference) = first.difference(&second, ["first", "second"]) {
        panic!(
            "{}: not the same twice, without pgring\n{difference}",
            conversation.name
        );
    }
    assert!(
        !first.met_silence(),
        "{}: it waits for what does not come",
        conversation.name
    );
    first
}

fn differs(conversation: &Conversation, direct: &Transcript, stage: &Stage) -> Option<String> {
    let through = conversation.hold(stage.proxy.address(), stage);
    if conversation.promise == Promise::EqualOrBetter && !through.has_error() {
        return None;
    }
    let difference = direct.difference(&through, ["direct", "pgring"])?;
    Some(format!("  {}\n{difference}", conversation.name))
}

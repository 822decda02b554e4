//! The player who leaves every kind of state behind by every way, and looks for what anybody else has left; and the one
//! who draws random numbers behind a seed.

use std::collections::BTreeSet;

use pgring::{protocol::tag::backend::DATA_ROW, random::Seeded};

use super::{
    kinds,
    look::May,
    ways,
    world::{Complaint, World},
};
use crate::support::{message::query, session::Session};

const DRAW: &str = "SELECT pg_catalog.random()";

/// Numbers that follow a seed, of which those that come first are nobody else's.
const DRAWN: usize = 6;

/// The one who logs in with settings of its own, and the words it does not use.
const WITH_SETTINGS: usize = 3;
const RESETS: [&str; 4] = ["RESET", "DEFAULT", "NULL", "DISCARD ALL"];

/// What he keeps in mind.
#[derive(Debug, Default)]
pub(super) struct Leaver {
    /// What follows the seeds that were set.
    foreseen: BTreeSet<String>,
    /// Players that have set one.
    seeded: BTreeSet<usize>,
}

impl Leaver {
    /// One thing, by one way; mostly it looks afterwards.
    pub(super) fn play(
        &mut self,
        world: &mut World,
        random: &mut Seeded,
        player: usize,
        number: u64,
    ) -> Result<(), Complaint> {
        if random.below(14) == 0 {
            return self.draw(world, random, player, number);
        }
        if random.below(20) == 0 {
            return prepare_transaction(world, player);
        }
        let mut statement = kinds::statement(random, number);
        // What a function resets in a session that came with settings of its own becomes the server's.
        while player == WITH_SETTINGS && RESETS.iter().any(|word| statement.contains(word)) {
            statement = kinds::statement(random, number);
        }
        for (shown, bytes) in ways::action(random, &statement, number) {
            world.say(player, &shown, &bytes, May::Never)?;
        }
        // Whoever is left in a block ends it.
        world.say(player, "ROLLBACK", &query("ROLLBACK"), May::Never)?;
        match random.below(4) {
            0 => Ok(()),
            _ => world.look(player),
        }
    }

    /// A session is over, and its seed with it.
    pub(super) fn forget(&mut self, player: usize) {
        self.seeded.remove(&player);
    }

    /// Sets a seed, or draws a number that must not follow one that somebody else has set.
    fn draw(
        &mut self,
        world: &mut World,
        random: &mut Seeded,
        player: usize,
        number: u64,
    ) -> Result<(), Complaint> {
        if self.seeded.contains(&player) {
            world.say(player, DRAW, &query(DRAW), May::BeUndefined)?;
            return Ok(());
        }
        if random.below(2) == 0 {
            let seed = format!("{}", (number % 100_000) as f64 / 100_000.0);
            let words = format!("SELECT setseed({seed})");
            self.foresee(world, &words);
            let words = match random.below(4) {
                0 => format!("SET seed = {seed}"),
                1 => format!("SELECT public.run('{words}')"),
                2 => format!("DO $$ BEGIN PERFORM setseed({seed}); END $$"),
                _ => words,
            };
            world.say(player, &words, &query(&words), May::Never)?;
            self.seeded.insert(player);
            return Ok(());
        }
        let drawn = world.draw(player, &query(DRAW));
        match self.foreseen.contains(&drawn) {
            true => Err(world.complaint(&format!(
                "    player {player} draws what follows another's seed: {drawn}\n"
            ))),
            false => Ok(()),
        }
    }

    fn foresee(&mut self, world: &World, words: &str) {
        let mut session =
            Session::login_as(world.stage.server.primary.address(), "app", "plain").unwrap();
        session.query(words);
        for _ in 0..DRAWN {
            self.foreseen.insert(session.query(DRAW).row());
        }
    }
}

/// A transaction that is the first one to use temporary objects cannot be prepared; any other could, were that
/// switched on.
fn prepare_transaction(world: &mut World, player: usize) -> Result<(), Complaint> {
    for text in [
        "BEGIN",
        "SET LOCAL search_path = pg_temp",
        "SELECT current_schema() LIKE 'pg_temp%'",
    ] {
        world.say(player, text, &query(text), May::Never)?;
    }
    let last = "PREPARE TRANSACTION 'x'";
    world.say(player, last, &query(last), May::BeCleaner)?;
    world
        .say(player, "ROLLBACK", &query("ROLLBACK"), May::Never)
        .map(drop)
}

impl World {
    /// The answer through pgring to a question that is answered by chance.
    fn draw(&mut self, player: usize, bytes: &[u8]) -> String {
        let heard = self.by_chance(player, bytes);
        let row = heard.iter().find(|(tag, _)| *tag == DATA_ROW);
        row.map(|(_, body)| String::from_utf8_lossy(&body[6..]).into_owned())
            .unwrap_or_default()
    }
}

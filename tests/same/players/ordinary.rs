//! The ordinary player: settings, a role, statements under several names, temporary tables, locks, cursors and blocks,
//! as applications use them. He is never surprised.

use pgring::random::Seeded;

use super::{
    kinds::any,
    look::May,
    world::{Complaint, World},
};
use crate::{conversation::unnamed, support::message::*};

/// What he says, request after request; `{n}` is a number that has not been there before, `{m}` one of few.
const TALKS: [&[&str]; 24] = [
    &["SET work_mem = '{n}kB'", "SHOW work_mem"],
    &[
        "SET app.v = 'tenant {n}'",
        "SELECT current_setting('app.v')",
    ],
    &["SELECT set_config('my.v', '{n}', false)", "SHOW my.v"],
    &[
        "BEGIN",
        "SET LOCAL app.v = 'for now {n}'",
        "SELECT current_setting('app.v')",
        "COMMIT",
        "SELECT coalesce(current_setting('app.v', true), '')",
    ],
    &[
        "SET ROLE reader",
        "SELECT current_user",
        "RESET ROLE",
        "SELECT current_user",
    ],
    &[
        "BEGIN",
        "SET LOCAL ROLE writer",
        "SELECT current_user",
        "COMMIT",
        "SELECT current_user",
    ],
    &[
        "CREATE TEMP TABLE mine AS SELECT {n} AS n",
        "SELECT n FROM mine",
        "DROP TABLE mine",
        "SELECT n FROM mine",
    ],
    &[
        "CREATE TEMP TABLE IF NOT EXISTS keep (n int)",
        "INSERT INTO keep VALUES ({n})",
        "SELECT * FROM keep",
    ],
    &[
        "BEGIN",
        "CREATE TEMP TABLE brief ON COMMIT DROP AS SELECT {n} AS n",
        "SELECT * FROM brief",
        "COMMIT",
        "SELECT * FROM brief",
    ],
    &[
        "SELECT pg_try_advisory_lock(100 + {m})",
        "SELECT pg_advisory_unlock(100 + {m})",
    ],
    &["SELECT pg_try_advisory_lock(100 + {m})"],
    &[
        "BEGIN",
        "SELECT pg_try_advisory_xact_lock(100 + {m})",
        "COMMIT",
    ],
    &[
        "PREPARE q{m} (int) AS SELECT $1 + {n}",
        "EXECUTE q{m}(1)",
        "DEALLOCATE q{m}",
        "EXECUTE q{m}(1)",
    ],
    &["PREPARE q{m} (int) AS SELECT $1 + {n}", "EXECUTE q{m}(2)"],
    &[
        "BEGIN",
        "DECLARE c CURSOR FOR SELECT id FROM items ORDER BY id",
        "FETCH 3 FROM c",
        "MOVE 2 IN c",
        "FETCH c",
        "COMMIT",
        "FETCH c",
    ],
    &[
        "DECLARE h CURSOR WITH HOLD FOR SELECT id FROM items ORDER BY id",
        "FETCH 2 FROM h",
        "CLOSE h",
    ],
    &[
        "BEGIN",
        "UPDATE items SET price = {n} WHERE id = 1",
        "SELECT price FROM items WHERE id = 1",
        "ROLLBACK",
        "SELECT price FROM items WHERE id = 1",
    ],
    &[
        "BEGIN",
        "INSERT INTO items VALUES (1, 'again')",
        "SELECT 1",
        "ROLLBACK",
    ],
    &[
        "BEGIN",
        "SAVEPOINT a",
        "SELECT 1/0",
        "ROLLBACK TO a",
        "SELECT {n}",
        "COMMIT",
    ],
    &[
        "BEGIN; SET app.v = 'undone {n}'; ROLLBACK",
        "SELECT coalesce(current_setting('app.v', true), '')",
    ],
    &[
        "BEGIN",
        "INSERT INTO numbered (word) VALUES ('w{n}')",
        "SELECT currval('numbers') = lastval()",
        "COMMIT",
    ],
    &[
        "INSERT INTO items VALUES (1000 + {n}, 'new') RETURNING id",
        "DELETE FROM items WHERE id = 1000 + {n}",
    ],
    &[
        "LISTEN his",
        "SELECT * FROM pg_listening_channels()",
        "UNLISTEN his",
    ],
    &["DISCARD ALL"],
];

/// One talk; by one protocol all along, or a pipeline of all of it.
pub(super) fn play(
    world: &mut World,
    random: &mut Seeded,
    player: usize,
    number: u64,
) -> Result<(), Complaint> {
    if random.below(4) == 0 {
        return prepared(world, random, player, number);
    }
    let few = random.below(3).to_string();
    let fill = |text: &&str| {
        text.replace("{n}", &number.to_string())
            .replace("{m}", &few)
    };
    let texts: Vec<_> = any(random, &TALKS).iter().map(fill).collect();
    let way = random.below(4);
    for (at, text) in texts.iter().enumerate() {
        let bytes = match way {
            0 => all([unnamed(text), sync()]),
            1 => {
                let name = format!("o{}", at % 3);
                let run = all([
                    bind("", &name, &[]),
                    describe_portal(""),
                    execute(""),
                    sync(),
                ]);
                [close_statement(&name), parse(&name, text), run].concat()
            }
            _ => query(text),
        };
        world.say(player, text, &bytes, May::Never)?;
    }
    world.say(player, "ROLLBACK", &query("ROLLBACK"), May::Never)?;
    world.look(player)
}

/// Statements that are prepared in one pipeline and used in others, with parameters.
fn prepared(
    world: &mut World,
    random: &mut Seeded,
    player: usize,
    number: u64,
) -> Result<(), Complaint> {
    const TEXTS: [&str; 4] = [
        "SELECT id, name FROM items WHERE id = $1",
        "SELECT $1::int + 1, current_setting('work_mem'), current_user",
        "UPDATE items SET price = $1 WHERE id = 2 RETURNING price",
        "SELECT set_config('app.v', 'v' || $1, false)",
    ];
    let (name, text) = (any(random, &["r1", "r2"]), any(random, &TEXTS));
    let parse = [
        close_statement(name),
        parse(name, text),
        describe_statement(name),
        sync(),
    ];
    world.say(
        player,
        &format!("Parse {name:?}: {text}"),
        &parse.concat(),
        May::Never,
    )?;
    for _ in 0..2 {
        let value = (number % 20).to_string();
        let run = all([
            bind("", name, &[&value]),
            describe_portal(""),
            execute(""),
            sync(),
        ]);
        world.say(
            player,
            &format!("Bind {name:?} with {value}"),
            &run,
            May::Never,
        )?;
    }
    Ok(())
}

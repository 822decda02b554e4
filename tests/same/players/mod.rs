//! Three players in one game, made from a seed: an ordinary client; one who leaves every kind of state behind by every
//! way and looks for everything that others left; one who changes the schema while statements are in use. All is
//! compared with direct connections, in front of PostgreSQL 15, 17 and 18, with pools of one and of three, on one worker
//! and two, with and without `state_check = "always"`.
//!
//! `make proof` plays for long: PROOF_ROUNDS in each setup, from PROOF_SEED; PROOF_PLAYERS, such as 045, lets only some play,
//! and PROOF_SETUP only in one setup, 0 to 7.

mod changer;
mod kinds;
mod leaver;
mod look;
mod ordinary;
mod ways;
mod world;

use std::env;

use pgring::random::Seeded;

use self::{
    changer::Changer,
    leaver::Leaver,
    world::{Complaint, Setup, World},
};
use crate::support::versions::postgres_version;

/// Rounds for each version in each setup, unless told.
const ROUNDS: u64 = 60;

/// Where chance begins, unless told.
const SEED: u64 = 10;

/// Those at the table: ordinary ones, leavers, changers.
const PLAYERS: usize = 6;

/// Ways in which a leaver or an ordinary player logs in.
const LOGINS: [&[(&str, &str)]; 4] = [
    &[],
    &[("application_name", "a player")],
    &[("options", "-c work_mem=9MB")],
    &[("TimeZone", "Asia/Seoul")],
];

/// For statements that are shadowed by a schema that comes first.
const SHADOWED: &[(&str, &str)] = &[("options", "-c search_path=a,public")];

#[test]
fn on_postgres_15() {
    play(15);
}

#[test]
fn on_postgres_17() {
    play(17);
}

#[test]
fn on_postgres_18() {
    play(18);
}

/// The game itself is no matter of chance.
#[test]
fn without_pgring_nothing_differs() {
    let direct = Setup {
        is_shared: false,
        ..Setup::all()[0]
    };
    for major in [15, 18] {
        play_in(major, vec![direct]);
    }
}

/// A game in each setup.
fn play(major: u32) {
    play_in(major, Setup::all());
}

/// Games that may go wrong before the rest is given up.
const COMPLAINTS_MAX: usize = 3;

fn play_in(major: u32, setups: Vec<Setup>) {
    let rounds = told("PROOF_ROUNDS").unwrap_or(ROUNDS);
    let seed = told("PROOF_SEED").unwrap_or(SEED);
    let installation = postgres_version(major);
    let mut world = None;
    let mut complaints = Vec::new();
    let chosen = told("PROOF_SETUP");
    for (at, setup) in setups.into_iter().enumerate() {
        if chosen.is_some_and(|chosen| chosen != at as u64) {
            continue;
        }
        let world_now = world.get_or_insert_with(|| World::new(&installation, setup, PLAYERS));
        world_now.renew(setup);
        let own = seed << 16 | u64::from(major) << 8 | at as u64;
        if let Err(complaint) = Game::new(own).run(world_now, rounds, at as u64) {
            complaints.push(complaint);
            // Nobody knows in what the two databases differ now.
            world = None;
        }
        if complaints.len() == COMPLAINTS_MAX {
            break;
        }
    }
    let count = complaints.len();
    assert!(
        complaints.is_empty(),
        "PostgreSQL {major}, PROOF_SEED={seed} PROOF_ROUNDS={rounds}: {count} games went wrong\n{}",
        complaints.join("\n")
    );
}

/// Who plays.
fn players() -> Vec<usize> {
    let all = || (0..PLAYERS).collect();
    let Some(chosen) = env::var_os("PROOF_PLAYERS") else {
        return all();
    };
    let digits = chosen.to_string_lossy().into_owned();
    digits
        .chars()
        .map(|digit| digit.to_digit(10).unwrap() as usize)
        .collect()
}

/// A number of the environment.
fn told(name: &str) -> Option<u64> {
    let value = env::var_os(name)?;
    let number = value.to_str().and_then(|text| text.parse().ok());
    Some(number.unwrap_or_else(|| panic!("{name} is no number: {value:?}")))
}

struct Game {
    players: Vec<usize>,
    random: Seeded,
    number: u64,
    leaver: Leaver,
    changer: Changer,
}

impl Game {
    fn new(seed: u64) -> Self {
        Self {
            players: players(),
            random: Seeded::new(seed),
            number: 0,
            leaver: Leaver::default(),
            changer: Changer::default(),
        }
    }

    fn run(&mut self, world: &mut World, rounds: u64, game: u64) -> Result<(), Complaint> {
        // Numbers that no game of this world had.
        self.number = 100 + game * 10_000_000;
        for _ in 0..rounds {
            self.number += 1;
            self.round(world)?;
        }
        Ok(())
    }

    fn round(&mut self, world: &mut World) -> Result<(), Complaint> {
        world.agree_on_numbers()?;
        let player = kinds::any(&mut self.random, &self.players);
        if !world.is_there(player) {
            self.leaver.forget(player);
            self.changer.forget(player);
            let more = match player {
                4 => SHADOWED,
                1 | 2 | 5 => &[],
                _ => kinds::any(&mut self.random, &LOGINS),
            };
            world.login(player, more)?;
        }
        match player {
            0 => ordinary::play(world, &mut self.random, player, self.number)?,
            1..4 => self
                .leaver
                .play(world, &mut self.random, player, self.number)?,
            _ => self
                .changer
                .play(world, &mut self.random, player, self.number)?,
        }
        if self.random.below(10) == 0 {
            world.leave(player);
        }
        // Somebody else looks whether it can be seen.
        let other = self.random.below(4) as usize;
        match world.is_there(other) {
            true => world.look(other),
            false => Ok(()),
        }
    }
}

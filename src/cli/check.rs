//! `pgring check`: reads a configuration as `run` would, and says what it means or what is wrong.

use std::{fmt, path::Path, process::ExitCode};

use super::command_line::CheckArgs;
use crate::{
    cluster::settings::{AuthMethod, Capacity, PoolSettings, Settings},
    control::{
        config::{self, method_name, mode_name, written_duration},
        look_at_rights,
    },
};

/// Prints the outcome; status 1 when the file is wrong.
pub(crate) fn run(args: &CheckArgs) -> ExitCode {
    match config::load(&args.config) {
        Ok(settings) => {
            let file = &args.config;
            print!(
                "{}",
                Summary {
                    file,
                    settings: &settings
                }
            );
            match args.connect {
                true => connect(settings),
                false => ExitCode::SUCCESS,
            }
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Logs in to every node; a line for each, and for each right that is missing.
fn connect(settings: Settings) -> ExitCode {
    let Some(role) = settings.health.user.clone() else {
        eprintln!(
            "  [health] names no user: nobody looks at the nodes, and there is nobody to connect as"
        );
        return ExitCode::FAILURE;
    };
    let nodes = match look_at_rights(settings) {
        Ok(nodes) => nodes,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::FAILURE;
        }
    };
    let mut is_well = true;
    for (name, found) in nodes {
        is_well &= matches!(&found, Ok(missing) if missing.is_empty());
        match found {
            Err(why) => println!("  connect  {name}: {why}"),
            Ok(missing) if missing.is_empty() => println!("  connect  {name}: ok"),
            Ok(missing) => {
                println!(
                    "  connect  {name}: role {role} lacks rights for failover and switchover:"
                );
                for right in missing {
                    println!("             {};", right.granted_to(&role));
                }
            }
        }
    }
    match is_well {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}

/// Summary of a right file: its meaning, in a few lines.
struct Summary<'s> {
    file: &'s Path,
    settings: &'s Settings,
}

impl fmt::Display for Summary<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}: ok", self.file.display())?;
        self.listen(f)?;
        self.workers(f)?;
        self.nodes(f)?;
        self.users(f)?;
        self.pools(f)
    }
}

impl Summary<'_> {
    fn listen(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let listen = &self.settings.listen;
        let mut places: Vec<_> = listen.addresses.iter().map(ToString::to_string).collect();
        if let Some(folder) = &listen.unix_socket_dir {
            places.push(folder.display().to_string());
        }
        let (places, clients) = (places.join(", "), listen.max_clients);
        writeln!(f, "  listen   {places}; at most {clients} clients")
    }

    fn workers(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let runtime = &self.settings.runtime;
        let pinned = if runtime.pin {
            ", each pinned to one CPU"
        } else {
            ""
        };
        writeln!(f, "  workers  {}{pinned}", runtime.workers)
    }

    fn nodes(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for node in &self.settings.nodes {
            let (name, address, weight) = (&node.name, &node.address, node.weight);
            writeln!(f, "  node     {name} at {address}, weight {weight}")?;
        }
        Ok(())
    }

    fn users(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (method, users) = (self.settings.auth.method, self.settings.users.len());
        match method {
            AuthMethod::Trust => writeln!(f, "  users    everybody is believed (trust)"),
            _ => writeln!(f, "  users    {users}, by {}", method_name(method)),
        }
    }

    fn pools(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "  pool     {}", Pool(&self.settings.pool))?;
        for database in &self.settings.databases {
            let server_name = database.server_name.as_ref();
            let renamed = server_name.map_or(String::new(), |name| format!(" (server: {name})"));
            let pool = database.pool.over(&self.settings.pool);
            writeln!(f, "  database {}{renamed}: {}", database.name, Pool(&pool))?;
        }
        for user in self
            .settings
            .users
            .iter()
            .filter(|user| user.pool != Default::default())
        {
            let pool = user.pool.over(&self.settings.pool);
            writeln!(f, "  user     {}: {}", user.name, Pool(&pool))?;
        }
        Ok(())
    }
}

/// The settings of a pool that matter most.
struct Pool<'s>(&'s PoolSettings);

impl fmt::Display for Pool<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (mode, Capacity { size, min_size, .. }) = (mode_name(self.0.mode), self.0.capacity);
        let wait = written_duration(self.0.timeouts.checkout_timeout);
        write!(
            f,
            "{mode}, {min_size} to {size} server connections, clients wait up to {wait}"
        )
    }
}

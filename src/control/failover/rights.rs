//! Rights that the role of `[health]` needs to replace a primary by SQL, or to switch over. Pure. A superuser has them all.

/// One right.
#[derive(Clone, Copy, Debug)]
pub struct Right {
    /// Statement by which a superuser gives it; `$role` stands for the role, quoted.
    pub grant: &'static str,
    /// Condition in SQL that holds where the role that asks has it.
    has: &'static str,
}

/// All of them, in the order in which they are granted. Functions are granted in the database of `[health]`.
pub const RIGHTS: [Right; 6] = [
    Right {
        grant: "GRANT pg_monitor TO $role",
        has: "pg_catalog.pg_has_role('pg_monitor', 'USAGE')",
    },
    Right {
        grant: "GRANT pg_signal_backend TO $role",
        has: "pg_catalog.pg_has_role('pg_signal_backend', 'USAGE')",
    },
    Right {
        grant: "ALTER ROLE $role REPLICATION",
        has: "(SELECT rolreplication FROM pg_catalog.pg_roles WHERE rolname = CURRENT_USER)",
    },
    Right {
        grant: "GRANT EXECUTE ON FUNCTION pg_catalog.pg_promote(boolean, integer) TO $role",
        has: "pg_catalog.has_function_privilege('pg_catalog.pg_promote(boolean, integer)', 'EXECUTE')",
    },
    Right {
        grant: "GRANT EXECUTE ON FUNCTION pg_catalog.pg_reload_conf() TO $role",
        has: "pg_catalog.has_function_privilege('pg_catalog.pg_reload_conf()', 'EXECUTE')",
    },
    Right {
        grant: "GRANT ALTER SYSTEM ON PARAMETER primary_conninfo, default_transaction_read_only TO $role",
        has: "pg_catalog.has_parameter_privilege('primary_conninfo', 'ALTER SYSTEM') \
              AND pg_catalog.has_parameter_privilege('default_transaction_read_only', 'ALTER SYSTEM')",
    },
];

/// The first version of PostgreSQL that can grant the last of them; before it only a superuser has that.
const WITH_PARAMETERS: u32 = 150_000;

impl Right {
    /// The statement that gives it to this role.
    pub fn granted_to(&self, role: &str) -> String {
        let quoted = format!("\"{}\"", role.replace('"', "\"\""));
        self.grant.replace("$role", &quoted)
    }
}

/// Question of one row: for each right whether the role that asks has it. `version` is `server_version_num`.
pub(crate) fn question(version: u32) -> String {
    let is_super = "(SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = CURRENT_USER)";
    let column = |right: &Right| match right.has.contains("parameter") && version < WITH_PARAMETERS
    {
        true => is_super.to_owned(),
        false => format!("{is_super} OR {}", right.has),
    };
    let columns: Vec<_> = RIGHTS.iter().map(column).collect();
    format!("SELECT {}", columns.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_manual_names_them_all() {
        let manual = include_str!("../../../docs/failover.md");
        for right in RIGHTS {
            let grant = right.grant.replace("$role", "pgring");
            assert!(manual.contains(&format!("{grant};\n")), "{grant}");
        }
    }

    #[test]
    fn a_role_is_named_as_it_is() {
        assert_eq!(
            RIGHTS[2].granted_to("a \"b\""),
            "ALTER ROLE \"a \"\"b\"\"\" REPLICATION"
        );
    }
}

//! Facts about `pg_catalog` that it does not tell of itself: functions that call themselves stable and yet need the
//! primary, and views of what each server keeps for itself.

/// Names of `pg_catalog`, `|` between them, for the SQL and for us.
macro_rules! primary_functions {
    () => {
        concat!(
            // They give the transaction a number, which only a primary can.
            "txid_current|pg_current_xact_id",
            // They name files of the primary's timeline, and refuse to during recovery.
            "|pg_walfile_name|pg_walfile_name_offset|pg_xlogfile_name|pg_xlogfile_name_offset",
            // They read tables whose names are values, which no look at the statement finds.
            "|table_to_xml|table_to_xml_and_xmlschema|schema_to_xml|schema_to_xml_and_xmlschema",
            "|database_to_xml|database_to_xml_and_xmlschema",
            // They number, count or describe what one server has: its processes, files and settings.
            "|pg_backend_pid|pg_blocking_pids|pg_safe_snapshot_blocking_pids|pg_show_all_settings",
            "|pg_show_all_file_settings|pg_hba_file_rules|pg_ident_file_mappings|pg_lock_status|pg_cursor",
            "|pg_prepared_statement|pg_prepared_xact|pg_listening_channels|pg_get_replication_slots",
            "|pg_show_replication_origin_status|pg_get_shmem_allocations|pg_get_backend_memory_contexts",
            "|pg_control_system|pg_control_checkpoint|pg_control_recovery|pg_control_init",
            "|pg_postmaster_start_time|pg_conf_load_time|pg_current_logfile|pg_config",
            "|pg_get_wal_replay_pause_state|pg_last_wal_receive_lsn|pg_last_wal_replay_lsn",
            "|pg_last_xact_replay_timestamp|pg_last_committed_xact|pg_xact_commit_timestamp",
        )
    };
}

pub(super) use primary_functions;

/// Volatile functions of `pg_catalog` that only look, and that a standby has as well. As [`primary_functions`].
macro_rules! looking_functions {
    () => {
        concat!(
            "clock_timestamp|timeofday|random|random_normal|gen_random_uuid|uuidv4|uuidv7",
            "|pg_sleep|pg_sleep_for|pg_sleep_until",
        )
    };
}

pub(super) use looking_functions;

/// The counters of one server.
const COUNTERS: &str = "pg_stat_get_";

/// Views of `pg_catalog` whose rows are true of one server: `pg_settings` and its like.
const SERVER_STATE: [&str; 19] = [
    "pg_aios",
    "pg_available_extension_versions",
    "pg_available_extensions",
    "pg_backend_memory_contexts",
    "pg_config",
    "pg_cursors",
    "pg_file_settings",
    "pg_hba_file_rules",
    "pg_ident_file_mappings",
    "pg_locks",
    "pg_prepared_statements",
    "pg_prepared_xacts",
    "pg_replication_origin_status",
    "pg_replication_slots",
    // What a sequence last gave out: standbys are ahead.
    "pg_sequences",
    "pg_settings",
    "pg_shmem_allocations",
    "pg_shmem_allocations_numa",
    "pg_dsm_registry_allocations",
];

/// True for functions of `pg_catalog` that are not called volatile and must not run on a standby.
pub(super) fn needs_primary(name: &str) -> bool {
    name.starts_with(COUNTERS) || primary_functions!().split('|').any(|known| known == name)
}

/// True for functions of `pg_catalog` that are called volatile, and yet write nothing.
pub(super) fn only_looks(name: &str) -> bool {
    looking_functions!().split('|').any(|known| known == name)
}

/// True for relations of `pg_catalog` that show what the server that is asked has, not the database.
/// (`pg_stats`, without what follows here, is of the database.)
pub(super) fn shows_server_state(name: &str) -> bool {
    let counts = name.starts_with("pg_stat_") || name.starts_with("pg_statio_");
    counts || SERVER_STATE.contains(&name)
}

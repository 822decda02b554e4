//! The questions by which a database tells what its functions, triggers, defaults, views and so on may leave behind at a
//! connection, and what their rows mean. Who asks them, and when, is the control plane's affair.

use super::load::{FactError, Row};

/// One row per function, procedure or aggregate that did not come with the server, its columns those of
/// [`RoutineFact::from_columns`]. One that is another name for a function of the server's own has that one's names as its
/// text.
pub const ROUTINES_SQL: &str = "\
SELECT p.oid, p.proname, l.lanname, p.provolatile, \
 CASE WHEN p.prosqlbody IS NOT NULL THEN pg_catalog.pg_get_function_sqlbody(p.oid) \
 WHEN l.lanname = 'internal' THEN (SELECT pg_catalog.string_agg(DISTINCT b.proname::text, ' ') FROM pg_catalog.pg_proc b \
 WHERE b.oid < 16384 AND b.prolang = p.prolang AND b.prosrc = p.prosrc AND b.prokind <> 'a') ELSE p.prosrc END, e.extname \
 FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_language l ON l.oid = p.prolang \
 LEFT JOIN pg_catalog.pg_depend d ON d.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass AND d.objid = p.oid \
 AND d.deptype = 'e' LEFT JOIN pg_catalog.pg_extension e ON e.oid = d.refobjid \
 WHERE p.oid >= 16384";

/// Functions of PostgreSQL's own that stored expressions are searched for, as a pattern of their names.
macro_rules! feared {
    () => {
        "'^(set_config|pg_(try_)?advisory_(un)?lock(_shared|_all)?|setseed|currval|lastval|query_to_xml.*|\
         table_to_xml.*|schema_to_xml.*|database_to_xml.*|ts_stat|ts_rewrite|pg_replication_origin_session_.*|\
         pg_(create|copy)_(physical|logical)_replication_slot|nextval|setval)$'"
    };
}

/// Uses of functions and relations by one another, one a row, its columns those of [`UseFact::from_columns`]. Functions
/// below 16384 come with the server, and `pg_depend` does not tell of them: expressions that call those that are feared are
/// given as texts.
pub const USES_SQL: &str = concat!(
    "WITH own AS MATERIALIZED (SELECT oid, proname FROM pg_catalog.pg_proc \
     WHERE oid < 16384 AND proname ~ ",
    feared!(),
    "), feared AS MATERIALIZED (SELECT ':(funcid|opfuncid|aggfnoid) (' || pg_catalog.string_agg(oid::text, '|') || ') ' \
     AS pattern FROM own), settings AS MATERIALIZED (SELECT \
     ':relid ' || 'pg_catalog.pg_settings'::pg_catalog.regclass::pg_catalog.oid || ' ' AS pattern), \
     uses AS MATERIALIZED (SELECT classid::pg_catalog.regclass AS class, objid, refobjid FROM pg_catalog.pg_depend \
     WHERE refclassid = 'pg_catalog.pg_proc'::pg_catalog.regclass AND refobjid >= 16384 AND deptype <> 'e') \
     SELECT CASE r.ev_type WHEN '1' THEN 'R' ELSE 'W' END, r.ev_class, u.refobjid, NULL FROM uses u \
     JOIN pg_catalog.pg_rewrite r ON r.oid = u.objid WHERE u.class = 'pg_catalog.pg_rewrite'::pg_catalog.regclass \
     UNION ALL SELECT 'R', p.polrelid, u.refobjid, NULL FROM uses u \
     JOIN pg_catalog.pg_policy p ON p.oid = u.objid WHERE u.class = 'pg_catalog.pg_policy'::pg_catalog.regclass \
     UNION ALL SELECT 'W', t.tgrelid, u.refobjid, NULL FROM uses u \
     JOIN pg_catalog.pg_trigger t ON t.oid = u.objid WHERE u.class = 'pg_catalog.pg_trigger'::pg_catalog.regclass \
     UNION ALL SELECT 'W', a.adrelid, u.refobjid, NULL FROM uses u \
     JOIN pg_catalog.pg_attrdef a ON a.oid = u.objid WHERE u.class = 'pg_catalog.pg_attrdef'::pg_catalog.regclass \
     UNION ALL SELECT CASE c.conrelid WHEN 0 THEN 'A' ELSE 'W' END, c.conrelid, u.refobjid, NULL FROM uses u \
     JOIN pg_catalog.pg_constraint c ON c.oid = u.objid WHERE u.class = 'pg_catalog.pg_constraint'::pg_catalog.regclass \
     UNION ALL SELECT 'W', coalesce(i.indrelid, u.objid), u.refobjid, NULL FROM uses u \
     LEFT JOIN pg_catalog.pg_index i ON i.indexrelid = u.objid WHERE u.class = 'pg_catalog.pg_class'::pg_catalog.regclass \
     UNION ALL SELECT 'F', u.objid, u.refobjid, NULL FROM uses u \
     WHERE u.class = 'pg_catalog.pg_proc'::pg_catalog.regclass \
     UNION ALL SELECT 'A', 0, u.refobjid, NULL FROM uses u WHERE u.class::pg_catalog.oid NOT IN (\
     'pg_catalog.pg_rewrite'::pg_catalog.regclass, 'pg_catalog.pg_policy'::pg_catalog.regclass, \
     'pg_catalog.pg_trigger'::pg_catalog.regclass, 'pg_catalog.pg_attrdef'::pg_catalog.regclass, \
     'pg_catalog.pg_constraint'::pg_catalog.regclass, 'pg_catalog.pg_class'::pg_catalog.regclass, \
     'pg_catalog.pg_proc'::pg_catalog.regclass, 'pg_catalog.pg_event_trigger'::pg_catalog.regclass, \
     'pg_catalog.pg_foreign_data_wrapper'::pg_catalog.regclass, 'pg_catalog.pg_language'::pg_catalog.regclass) \
     AND NOT EXISTS (SELECT FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_language l ON l.oid = p.prolang \
     WHERE p.oid = u.refobjid AND l.lanname = 'c' \
     AND (p.provolatile <> 'v' OR u.class = 'pg_catalog.pg_type'::pg_catalog.regclass)) \
     UNION ALL SELECT 'A', 0, 0, own.proname || '()' FROM own, pg_catalog.pg_operator o \
     WHERE o.oid >= 16384 AND o.oprcode = own.oid \
     UNION ALL SELECT 'A', 0, 0, own.proname || '()' FROM own, pg_catalog.pg_cast c \
     WHERE c.oid >= 16384 AND c.castfunc = own.oid \
     UNION ALL SELECT 'F', a.aggfnoid, 0, own.proname || '()' FROM own, pg_catalog.pg_aggregate a \
     WHERE a.aggfnoid >= 16384 AND own.oid IN (a.aggtransfn, a.aggfinalfn, a.aggcombinefn, a.aggserialfn, \
     a.aggdeserialfn, a.aggmtransfn, a.aggminvtransfn, a.aggmfinalfn) \
     UNION ALL SELECT 'W', r.ev_class, 0, 'UPDATE pg_settings' FROM pg_catalog.pg_rewrite r, settings s \
     WHERE r.oid >= 16384 AND r.ev_action::text ~ s.pattern \
     UNION ALL SELECT 'E', 0, evtfoid, NULL FROM pg_catalog.pg_event_trigger WHERE evtenabled <> 'D' \
     UNION ALL SELECT 'B', r.ev_class, d.refobjid, NULL FROM pg_catalog.pg_depend d \
     JOIN pg_catalog.pg_rewrite r ON r.oid = d.objid WHERE d.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass \
     AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.refobjid >= 16384 AND d.refobjid <> r.ev_class \
     UNION ALL SELECT 'B', p.polrelid, d.refobjid, NULL FROM pg_catalog.pg_depend d \
     JOIN pg_catalog.pg_policy p ON p.oid = d.objid WHERE d.classid = 'pg_catalog.pg_policy'::pg_catalog.regclass \
     AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.refobjid <> p.polrelid \
     UNION ALL SELECT 'B', inhparent, inhrelid, NULL FROM pg_catalog.pg_inherits \
     UNION ALL SELECT 'K', confrelid, conrelid, NULL FROM pg_catalog.pg_constraint WHERE contype = 'f' AND oid >= 16384 \
     AND (confdeltype IN ('c', 'n', 'd') OR confupdtype IN ('c', 'n', 'd')) \
     UNION ALL SELECT 'G', d.objid, d.refobjid, NULL FROM pg_catalog.pg_depend d \
     WHERE d.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass \
     AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.refobjid >= 16384 \
     UNION ALL SELECT 'S', a.adrelid, 0, NULL FROM pg_catalog.pg_attrdef a WHERE a.adbin::text ~ \
     ':funcid (480|1574|1575) ' \
     UNION ALL SELECT 'S', attrelid, 0, NULL FROM pg_catalog.pg_attribute WHERE attidentity <> '' AND attrelid >= 16384 \
     UNION ALL SELECT CASE r.ev_type WHEN '1' THEN 'R' ELSE 'W' END, r.ev_class, 0, pg_catalog.pg_get_ruledef(r.oid) \
     FROM pg_catalog.pg_rewrite r, feared f WHERE r.oid >= 16384 AND r.ev_action::text ~ f.pattern \
     UNION ALL SELECT 'R', p.polrelid, 0, pg_catalog.concat_ws(' ', pg_catalog.pg_get_expr(p.polqual, p.polrelid), \
     pg_catalog.pg_get_expr(p.polwithcheck, p.polrelid)) FROM pg_catalog.pg_policy p, feared f \
     WHERE pg_catalog.concat(p.polqual, p.polwithcheck) ~ f.pattern \
     UNION ALL SELECT 'W', a.adrelid, 0, pg_catalog.pg_get_expr(a.adbin, a.adrelid) FROM pg_catalog.pg_attrdef a, feared f \
     WHERE a.adbin::text ~ f.pattern \
     UNION ALL SELECT CASE c.conrelid WHEN 0 THEN 'A' ELSE 'W' END, c.conrelid, 0, pg_catalog.pg_get_constraintdef(c.oid) \
     FROM pg_catalog.pg_constraint c, feared f WHERE c.oid >= 16384 AND c.conbin::text ~ f.pattern \
     UNION ALL SELECT 'W', t.tgrelid, 0, pg_catalog.pg_get_triggerdef(t.oid) FROM pg_catalog.pg_trigger t, feared f \
     WHERE t.tgqual::text ~ f.pattern \
     UNION ALL SELECT 'F', p.oid, 0, pg_catalog.pg_get_function_arguments(p.oid) FROM pg_catalog.pg_proc p, feared f \
     WHERE p.oid >= 16384 AND p.proargdefaults::text ~ f.pattern"
);

/// A number that is another one after each change of what the questions of this folder ask about, in the sessions' own
/// database: few rows are read as long as few objects were made.
pub const CHANGES_SQL: &str = "\
WITH temporary AS MATERIALIZED (SELECT oid FROM pg_catalog.pg_namespace WHERE nspname ~ '^pg_(toast_)?temp_') \
 SELECT pg_catalog.current_setting('default_transaction_isolation'), pg_catalog.count(*), \
 pg_catalog.sum(pg_catalog.hashtextextended(\
 pg_catalog.concat_ws(' ', k, x, c), 0)) FROM (\
 SELECT 1 AS k, xmin::text AS x, ctid::text AS c FROM pg_catalog.pg_proc WHERE oid >= 16384 \
 UNION ALL SELECT 2, xmin::text, ctid::text FROM pg_catalog.pg_class WHERE oid >= 16384 \
 AND relnamespace NOT IN (SELECT oid FROM temporary) \
 UNION ALL SELECT 3, xmin::text, ctid::text FROM pg_catalog.pg_trigger \
 UNION ALL SELECT 4, xmin::text, ctid::text FROM pg_catalog.pg_rewrite WHERE oid >= 16384 \
 UNION ALL SELECT 5, xmin::text, ctid::text FROM pg_catalog.pg_policy \
 UNION ALL SELECT 6, xmin::text, ctid::text FROM pg_catalog.pg_attrdef \
 UNION ALL SELECT 7, xmin::text, ctid::text FROM pg_catalog.pg_constraint WHERE oid >= 16384 \
 AND connamespace NOT IN (SELECT oid FROM temporary) \
 UNION ALL SELECT 8, xmin::text, ctid::text FROM pg_catalog.pg_inherits \
 UNION ALL SELECT 9, xmin::text, ctid::text FROM pg_catalog.pg_operator WHERE oid >= 16384 \
 UNION ALL SELECT 10, xmin::text, ctid::text FROM pg_catalog.pg_cast WHERE oid >= 16384 \
 UNION ALL SELECT 11, xmin::text, ctid::text FROM pg_catalog.pg_type WHERE oid >= 16384 \
 AND typnamespace NOT IN (SELECT oid FROM temporary) \
 UNION ALL SELECT 12, xmin::text, ctid::text FROM pg_catalog.pg_event_trigger \
 UNION ALL SELECT 13, xmin::text, ctid::text FROM pg_catalog.pg_namespace WHERE oid >= 16384 \
 AND oid NOT IN (SELECT oid FROM temporary) \
 UNION ALL SELECT 14, xmin::text, ctid::text FROM pg_catalog.pg_extension WHERE oid >= 16384 \
 UNION ALL SELECT 15, xmin::text, ctid::text FROM pg_catalog.pg_db_role_setting) AS versions";

/// A function or procedure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoutineFact {
    /// Its number in `pg_proc`.
    pub oid: u32,
    /// Its name.
    pub name: String,
    /// Its language.
    pub language: String,
    /// It says that its result depends on nothing but its arguments.
    pub is_immutable: bool,
    /// It says that it may do anything.
    pub is_volatile: bool,
    /// Its text, or what the language has in place of one.
    pub source: String,
    /// The extension that brought it; empty when none did.
    pub extension: String,
}

/// Something that uses a function, a relation, a sequence or an expression.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum User {
    /// Reading a relation (and writing it, too).
    Reading(u32),
    /// Writing a relation.
    Writing(u32),
    /// A function.
    Routine(u32),
    /// Operators, casts, domains and the like: any statement may.
    Anything,
    /// Any change of the schema: an event trigger does.
    AnyChange,
}

/// Something that is used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Used {
    /// A function.
    Routine(u32),
    /// A relation, read and written like the one that uses it.
    Relation(u32),
    /// A relation that is written.
    Writing(u32),
    /// A sequence, for a column's default.
    Sequence,
    /// An expression, as PostgreSQL writes it.
    Text(String),
}

/// That something uses something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UseFact {
    /// The one that uses.
    pub user: User,
    /// The one that is used.
    pub used: Used,
}

impl RoutineFact {
    /// A row of [`ROUTINES_SQL`] in text format.
    pub fn from_columns(columns: &[Option<&str>]) -> Result<Self, FactError> {
        let row = Row::new(columns, 6)?;
        Ok(Self {
            oid: row.oid(0)?,
            name: row.text(1),
            language: row.text(2),
            is_immutable: row.letter(3)? == 'i',
            is_volatile: row.letter(3)? == 'v',
            source: row.text(4),
            extension: row.text(5),
        })
    }
}

impl UseFact {
    /// A row of [`USES_SQL`] in text format.
    pub fn from_columns(columns: &[Option<&str>]) -> Result<Self, FactError> {
        let row = Row::new(columns, 4)?;
        let (object, target, text) = (row.oid(1)?, row.oid(2)?, row.text(3));
        let (user, used) = match row.letter(0)? {
            'R' => (User::Reading(object), Used::Routine(target)),
            'W' => (User::Writing(object), Used::Routine(target)),
            'F' => (User::Routine(object), Used::Routine(target)),
            'A' => (User::Anything, Used::Routine(target)),
            'E' => (User::AnyChange, Used::Routine(target)),
            'B' => (User::Reading(object), Used::Relation(target)),
            'K' => (User::Writing(object), Used::Writing(target)),
            'S' => (User::Writing(object), Used::Sequence),
            'G' => (User::Routine(object), Used::Writing(target)),
            _ => return Err(row.wrong(0, "kind of use")),
        };
        let used = if text.is_empty() {
            used
        } else {
            Used::Text(text)
        };
        Ok(Self { user, used })
    }
}

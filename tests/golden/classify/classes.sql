# Statements and whether a hot standby may run them; ↵ is a line break. Lines with # are headings.
# nothing at all
;
 ;; ; 
-- only a comment
/* a /* nested */ one */
# queries that read nothing but values
SELECT
SELECT 1
select 1;
 ↵	SELECT 1
SELECT 1 AS one, 'two' AS "Two", $1::text
SELECT ALL 1
SELECT DISTINCT 1
SELECT 1; ; -- done
(SELECT 1)
((SELECT 1) UNION ALL (SELECT 2)) ORDER BY 1
VALUES (1, 'one'), (2, 'two')
(VALUES (1), (2)) ORDER BY 1
SELECT 1 UNION SELECT 2 INTERSECT SELECT 3 EXCEPT SELECT 4
# relations
SELECT * FROM t
SELECT * FROM T
SELECT * FROM "t"
SELECT * FROM "T"
SELECT * FROM public.t
SELECT * FROM "public"."t"
SELECT * FROM PUBLIC . T
SELECT * FROM db.public.t
SELECT * FROM other.t
SELECT * FROM nowhere
SELECT * FROM t nowhere
SELECT * FROM t AS nowhere
SELECT * FROM t AS x(a, b), t1 y (c, d), t2
SELECT * FROM ONLY t
SELECT * FROM ONLY (t)
SELECT * FROM t *
SELECT * FROM t, t1, t2
SELECT * FROM t, nowhere
SELECT * FROM t, unlogged_t
SELECT * FROM t CROSS JOIN t1 NATURAL JOIN t2
SELECT * FROM t JOIN t1 USING (a, b) LEFT OUTER JOIN t2 ON t.a = t2.b AND t.c IN (1, 2)
SELECT * FROM t JOIN unlogged_t USING (a)
SELECT * FROM t LEFT JOIN nowhere ON true
SELECT * FROM t JOIN (t1 JOIN t2 ON t1.a = t2.a) ON true
SELECT * FROM t JOIN (t1 JOIN unlogged_t ON true) ON true
SELECT * FROM (t JOIN t1 USING (a)) AS j
SELECT * FROM ((t CROSS JOIN t1) CROSS JOIN nowhere)
SELECT * FROM (SELECT a, b FROM t) AS x, t1
SELECT * FROM (SELECT a, nowhere FROM t) AS x
SELECT * FROM (SELECT a FROM t) AS x, nowhere
SELECT * FROM (VALUES (1, NULL), (a, b)) AS v(a, b)
SELECT * FROM (VALUES (1)) v(a), t
SELECT * FROM (TABLE t) x
SELECT * FROM (TABLE unlogged_t) x
SELECT * FROM LATERAL (SELECT 1) x
SELECT * FROM t, LATERAL (SELECT * FROM t1 WHERE t1.a = t.a) x
SELECT * FROM t WHERE a IN (SELECT a FROM t1)
SELECT * FROM t WHERE EXISTS (SELECT FROM nowhere)
SELECT * FROM t WHERE a = (SELECT max(b) FROM unlogged_t)
SELECT (SELECT a FROM t1 LIMIT 1), b FROM t
SELECT ARRAY(SELECT a FROM t)
SELECT ARRAY(SELECT a FROM unlogged_t)
SELECT a, unlogged_t FROM t AS unlogged_t
SELECT unlogged_t.a FROM t unlogged_t
SELECT * FROM t WHERE a = ANY (ARRAY[1, 2]) , t1
SELECT * FROM t JOIN t1 ON t.a = ANY (ARRAY[t1.a, t1.b])
SELECT * FROM t JOIN t1 ON t.a[1] = t1.a[b:c], nowhere
SELECT * FROM t TABLESAMPLE system (10)
SELECT * FROM t TABLESAMPLE BERNOULLI (10) REPEATABLE (3), t1
SELECT * FROM t TABLESAMPLE vol (10)
SELECT * FROM t, t1 WHERE a, b
TABLE t
TABLE ONLY t
TABLE unlogged_t
TABLE nowhere
TABLE t UNION TABLE t1
TABLE t UNION ALL TABLE unlogged_t
SELECT 1 UNION TABLE nowhere
SELECT FROM t
SELECT 1 FROM t GROUP BY a, b HAVING count(*) > 1 ORDER BY c, d LIMIT 10 OFFSET 20
SELECT 1 FROM t WINDOW w AS (PARTITION BY a ORDER BY b), x AS (w)
SELECT 1 FROM t ORDER BY a FETCH FIRST 10 ROWS ONLY
SELECT 1 FROM t ORDER BY a FETCH FIRST (5 + 5) ROWS WITH TIES
SELECT * FROM t UNION SELECT a, b FROM t1
SELECT a FROM t GROUP BY GROUPING SETS ((a), ()), ROLLUP (a, b), CUBE (a, b)
SELECT * FROM a_view
SELECT * FROM view_of_unlogged
SELECT * FROM view_that_writes
SELECT * FROM view_of_view
SELECT * FROM matview
SELECT * FROM foreign_t
SELECT * FROM temp_t
SELECT * FROM pg_temp.temp_t
SELECT last_value FROM a_sequence
SELECT * FROM parted
SELECT * FROM parted_with_unlogged
SELECT * FROM guarded
# words of FROM that are none
SELECT EXTRACT(year FROM nowhere)
SELECT EXTRACT(epoch FROM created) FROM t
SELECT EXTRACT(year FROM (SELECT d FROM unlogged_t))
SELECT SUBSTRING(a FROM b FOR c), t.d FROM t
SELECT SUBSTRING(a FROM nowhere), (SELECT b FROM nowhere)
SELECT substring(a, 1, 2) FROM t
SELECT TRIM(BOTH 'x' FROM nowhere) FROM t
SELECT OVERLAY(a PLACING b FROM 1 FOR 2) FROM t
SELECT POSITION('a' IN b) FROM t
SELECT a IS DISTINCT FROM b FROM t
SELECT a IS NOT DISTINCT FROM nowhere FROM t
SELECT a.is DISTINCT FROM nowhere
SELECT 1 AS is DISTINCT FROM nowhere
SELECT 1 AS distinct FROM nowhere
SELECT 1 AS from, a FROM t
SELECT 1 AS as FROM nowhere
SELECT 1 AS as FROM t
SELECT t.from FROM t
SELECT t.as FROM nowhere
SELECT a /* from x */ FROM t -- FROM nowhere
SELECT 'from nowhere', "from", $$ from nowhere $$ FROM t
SELECT "extract"(a FROM nowhere)
SELECT 1 FROM t WHERE t.where = 1, nowhere
SELECT 1 FROM t JOIN t1 ON t.where = t1.group, nowhere
# common table expressions
WITH x AS (SELECT 1) SELECT * FROM x
WITH x AS (SELECT 1), y AS (SELECT * FROM x) SELECT * FROM x, y
WITH x AS (SELECT 1) SELECT * FROM X
WITH "X" AS (SELECT 1) SELECT * FROM X
WITH "X" AS (SELECT 1) SELECT * FROM "X"
WITH x AS (SELECT 1) SELECT * FROM s.x
WITH RECURSIVE n(n) AS (VALUES (1) UNION ALL SELECT n + 1 FROM n WHERE n < 100) SELECT sum(n) FROM n
WITH RECURSIVE x AS (SELECT 1 FROM y), y AS (SELECT 1) SELECT * FROM x
WITH x AS MATERIALIZED (SELECT * FROM t), y AS NOT MATERIALIZED (SELECT * FROM x) SELECT * FROM y
WITH x(a, b) AS (SELECT 1, 2) SELECT * FROM x
WITH t AS (SELECT 1) SELECT * FROM t
WITH unlogged_t AS (SELECT 1) SELECT * FROM unlogged_t
WITH x AS (SELECT * FROM unlogged_t) SELECT 1
WITH x AS (SELECT * FROM x) SELECT 1
WITH x AS (SELECT 1) SELECT * FROM (WITH y AS (SELECT 2) SELECT * FROM x, y) z
SELECT * FROM (WITH y AS (SELECT 2) SELECT * FROM y) z, y
SELECT * FROM (WITH y AS (SELECT 2) SELECT * FROM y) z, (SELECT 1 FROM y) q
(WITH x AS (SELECT 1) TABLE x)
WITH x AS (SELECT 1) (SELECT 1) ORDER BY lower('a'), nextval('s')
WITH x AS (SELECT 1) (SELECT 1) ORDER BY lower('a'), vol(1)
WITH x AS (SELECT 1) VALUES (1), (nextval('s'))
WITH x AS (SELECT 1) VALUES (1), (2)
WITH RECURSIVE x AS (SELECT 1 UNION ALL SELECT 2 FROM x) SEARCH DEPTH FIRST BY a SET b SELECT * FROM x
WITH RECURSIVE x AS (SELECT 1) CYCLE a SET c USING p SELECT * FROM x
WITH recursive AS (SELECT 1) SELECT * FROM recursive
WITH x AS (SELECT 1) , y AS (SELECT 2) SELECT * FROM y
WITH x AS (SELECT 1) TABLE x
# common table expressions that write
WITH moved AS (DELETE FROM t RETURNING *) INSERT INTO t1 SELECT * FROM moved
WITH x AS (INSERT INTO t VALUES (1) RETURNING *) SELECT * FROM x
WITH x AS (UPDATE t SET a = 1 RETURNING *) SELECT * FROM x
WITH x AS (DELETE FROM t RETURNING *) SELECT * FROM x
WITH x AS MATERIALIZED (DELETE FROM t RETURNING *) SELECT * FROM x
WITH x AS (WITH y AS (SELECT 1) DELETE FROM t RETURNING *) SELECT * FROM x
WITH x AS (/* why */ DELETE -- not↵ FROM t RETURNING *) SELECT * FROM x
WITH x AS (SELECT 1) MERGE INTO t USING x ON true WHEN MATCHED THEN DELETE
WITH x AS (SELECT 1) UPDATE t SET a = 1
WITH x AS (SELECT 1) DELETE FROM t
WITH x AS (SELECT 1) INSERT INTO t SELECT 1
WITH RECURSIVE x AS (SELECT 1) SEARCH DEPTH FIRST BY a SET b DELETE FROM t
WITH RECURSIVE x AS (SELECT 1) CYCLE a SET c USING p UPDATE t SET a = 1
SELECT * FROM (DELETE FROM t RETURNING *) x
# locks and INTO
SELECT * FROM t FOR UPDATE
SELECT * FROM t FOR NO KEY UPDATE SKIP LOCKED
SELECT * FROM t FOR SHARE
SELECT * FROM t FOR KEY SHARE NOWAIT
SELECT * FROM t for/**/update of t
SELECT * FROM (SELECT * FROM t FOR UPDATE) x
SELECT * FROM t WHERE a IN (SELECT a FROM t1 FOR SHARE)
(SELECT * FROM t) FOR UPDATE
SELECT * FROM t FOR READ ONLY
SELECT * FROM t AS update
SELECT t.update, t.delete, t.into FROM t
SELECT 1 AS update, 2 AS insert, 3 AS into
SELECT update FROM t
SELECT "update", "into" FROM t
SELECT 'FOR UPDATE'
SELECT 1 INTO x
SELECT * INTO TEMP x FROM t
SELECT * into x FROM t
SELECT a FROM t INTO x
# functions that read
SELECT count(*) FROM t
SELECT count ( * ) FROM t
SELECT COUNT(DISTINCT a), pg_catalog.max(b), "min"(c), "pg_catalog"."sum"(d) FROM t
SELECT count(*) FILTER (WHERE a > 1) OVER (PARTITION BY b ORDER BY c ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) FROM t
SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY a) FROM t
SELECT now(), current_timestamp, CURRENT_TIMESTAMP(3), current_date, localtime(0), LOCALTIMESTAMP, current_user
SELECT COALESCE(a, b), NULLIF(a, b), GREATEST(a, b), LEAST(a, b) FROM t
SELECT CAST(a AS varchar(10)), a::numeric(10, 2), a::character varying (3), a::timestamp(3) with time zone FROM t
SELECT CAST(a AS interval hour to second (3)), interval '1 day', INTERVAL(3) '1.5 s', bit(3) '101' FROM t
SELECT float8(1), date(now()), text('x'), int4('1')
SELECT a::geometry(Point, 4326) FROM t
SELECT ROW(1, 2), (1, 2), ARRAY[1, 2], ARRAY[[1], [2]], (ARRAY[1])[1]
SELECT CASE WHEN (a) THEN (b) ELSE (c) END FROM t
SELECT * FROM t WHERE (a) AND (b) OR NOT (c) AND a IN (1) AND b BETWEEN (1) AND (2) AND c LIKE ('x') ESCAPE ('y')
SELECT * FROM t WHERE a = ANY (b) AND a = ALL (b) AND a = SOME (b) AND (a, b) OVERLAPS (c, d) AND a SIMILAR TO ('x')
SELECT a AT TIME ZONE ('UTC'), a COLLATE "C", COLLATION FOR (a) FROM t
SELECT 1 OPERATOR(pg_catalog.+) 2
SELECT xmlelement(name foo, xmlattributes(a AS b), xmlforest(c)), xmlconcat(a, b), xmlpi(name php) FROM t
SELECT xmlparse(document '<a/>'), xmlserialize(content x AS text), xmlexists('a' PASSING (b)), xmlroot(x, version '1') FROM t
SELECT * FROM XMLTABLE('/a' PASSING data COLUMNS a int PATH 'b', c FOR ORDINALITY) AS x
SELECT JSON_OBJECT('a' : 1), JSON_ARRAY(1, 2), JSON_SCALAR(1), JSON_OBJECTAGG(a : b), JSON_ARRAYAGG(a) FROM t
SELECT json_build_object('a', 1), to_jsonb(t), jsonb_agg(t) FROM t
SELECT * FROM JSON_TABLE('[]', '$[*]' COLUMNS (id FOR ORDINALITY, a int PATH '$.a')) AS j
SELECT * FROM generate_series(1, 10) AS g
SELECT * FROM generate_series(1, 10) g(n), t
SELECT * FROM generate_series(1, 10) WITH ORDINALITY AS g(n, o)
SELECT * FROM generate_series(1, 10) WITH ORDINALITY g(n, o)
SELECT * FROM ROWS FROM (generate_series(1, 2), generate_series(1, 3)) AS g(a, b)
SELECT * FROM ROWS FROM (generate_series(1, 2), nextval('s')) AS g(a, b)
SELECT * FROM rows
SELECT * FROM json_to_record('{}') AS x(a int, b varchar(10), c numeric(1, 2))
SELECT * FROM json_to_recordset('[]') x(a int), t
SELECT * FROM t, LATERAL generate_series(1, t.a) g
SELECT * FROM t, LATERAL unknown_function(t.a) g
SELECT * FROM t LEFT JOIN LATERAL unnest(t.a) WITH ORDINALITY u(x, n) ON true
SELECT unnest(ARRAY[1, 2]), regexp_matches('a', 'b')
SELECT left('a', 1), right('a', 1), "left"('a', 1)
SELECT app.reader(1), "app"."reader"(1), APP . READER (1)
SELECT reader(1)
SELECT mixed(1)
SELECT app.mixed(1)
SELECT other.mixed(1)
SELECT f.mixed(1) FROM t f
SELECT pg_current_snapshot(), txid_current_snapshot(), pg_typeof(1), version(), current_schema(), current_schemas(true)
SELECT inet_server_addr(), inet_server_port()
SELECT has_table_privilege('t', 'UPDATE'), pg_get_viewdef('a_view'::regclass), format_type(23, 1)
SELECT current_setting('search_path'), current_setting('TimeZone'), current_setting('app.tenant', true)
SELECT array_agg(a ORDER BY b), string_agg(a, ',' ORDER BY lower(b)) FROM t
SELECT mod(1, 2) = 1AND true
SELECT pg_catalog.count(*), Pg_Catalog.COUNT(*) FROM t
# functions that write, or may
SELECT nextval('s')
SELECT NEXTVAL('s')
SELECT nextval ('s')
SELECT nextval/**/('s')
SELECT nextval -- why↵ ('s')
SELECT "nextval"('s')
SELECT "NEXTVAL"('s')
SELECT pg_catalog.nextval('s')
SELECT pg_catalog . nextval('s')
SELECT pg_catalog/**/./**/nextval/**/('s')
SELECT "pg_catalog"."nextval"('s')
SELECT db.pg_catalog.nextval('s')
SELECT U&"nextval"('s')
SELECT U&"n\0065xtval"('s')
SELECT u&"n!0065xtval" UESCAPE '!' ('s')
SELECT 1 WHERE nextval('s') > 1
SELECT * FROM t ORDER BY nextval('s')
SELECT * FROM t LIMIT nextval('s')
SELECT * FROM t JOIN t1 ON nextval('s') = 1
SELECT * FROM nextval('s')
SELECT * FROM nextval('s') AS x
SELECT * FROM t, nextval('s')
SELECT * FROM t, LATERAL nextval('s')
SELECT lower(upper(nextval('s')::text))
SELECT CASE WHEN true THEN nextval('s') END
SELECT (SELECT nextval('s'))
SELECT ARRAY[nextval('s')]
SELECT (ARRAY[1, 2])[nextval('s')]
SELECT 1 +nextval('s')
SELECT 1OR nextval('s')
SELECT ALL nextval('s')
SELECT DISTINCT ON (a) nextval('s') FROM t
SELECT DISTINCT ON (a) unknown_function('s') FROM t
SELECT 1 OPERATOR(pg_catalog.+) nextval('s')
SELECT * FROM t JOIN t1 ON a OPERATOR(pg_catalog.=) nextval('s')
SELECT * FROM t JOIN t1 ON a OPERATOR(pg_catalog.=) unknown_function('s')
SELECT JSON_OBJECT('a' : nextval('s'))
SELECT * FROM XMLTABLE('/a' PASSING xmlparse(document nextval('s')::text) COLUMNS a int)
SELECT * FROM JSON_TABLE(nextval('s')::text, '$' COLUMNS (a int))
SELECT EXTRACT(year FROM clock_timestamp())
SELECT COALESCE(NULL, nextval('s'))
SELECT currval('s'), lastval()
SELECT setval('s', 1)
SELECT random()
SELECT clock_timestamp(), timeofday()
SELECT gen_random_uuid()
SELECT pg_sleep(1)
SELECT pg_notify('c', 'x')
SELECT pg_advisory_lock(1)
SELECT pg_try_advisory_xact_lock(1)
SELECT pg_advisory_unlock_all()
SELECT set_config('a.b', 'c', false)
SELECT lo_creat(-1), lo_get(1)
SELECT pg_is_in_recovery()
SELECT pg_current_wal_lsn()
SELECT pg_switch_wal()
SELECT pg_terminate_backend(1234)
SELECT pg_cancel_backend(1234)
SELECT pg_export_snapshot()
SELECT pg_relation_size('t')
SELECT query_to_xml('DELETE FROM t', true, true, '')
SELECT txid_current()
SELECT pg_current_xact_id()
SELECT "pg_current_xact_id"()
SELECT pg_walfile_name('0/0')
SELECT table_to_xml('unlogged_t', true, true, '')
SELECT pg_stat_get_numscans(1)
SELECT pg_backend_pid()
SELECT current_setting('transaction_read_only')
SELECT current_setting('work_mem')
SELECT current_setting(name) FROM t
SELECT current_setting(E'search_path')
SELECT unknown_function(1)
SELECT app.unknown_function(1)
SELECT nowhere.count(*) FROM t
SELECT "Count"(*) FROM t
SELECT "a""b"(1)
SELECT vol(1)
SELECT VOL (t.*) FROM t
SELECT t.vol FROM t
SELECT (t).vol FROM t
SELECT t.VOL FROM t
SELECT t."vol" FROM t
SELECT vol FROM t
SELECT listed_reader(1), app.listed_reader_too(1), LISTED_READER(2), get_by_pattern(1), app.get_it(1)
SELECT listed_reader_too(1)
SELECT listed_writer(1)
SELECT lower('listed'), app.listed_lower('x')
SELECT listed_lower('x')
SELECT upper('listed by pattern'), initcap('x')
# settings
SHOW search_path
SHOW "search_path"
SHOW TIME ZONE
SHOW timezone;
SHOW TRANSACTION ISOLATION LEVEL
SHOW server_version
SHOW transaction_read_only
SHOW in_hot_standby
SHOW work_mem
SHOW ALL
SHOW SESSION AUTHORIZATION
SHOW app.tenant
SHOW
SHOW search_path, timezone
# EXPLAIN
EXPLAIN SELECT 1
EXPLAIN SELECT * FROM t WHERE a = 1
EXPLAIN VERBOSE SELECT * FROM t
EXPLAIN ANALYZE SELECT * FROM t
EXPLAIN ANALYSE VERBOSE SELECT * FROM t
EXPLAIN (ANALYZE, BUFFERS, FORMAT json) SELECT * FROM t
EXPLAIN (COSTS off) (SELECT 1)
EXPLAIN (SELECT 1)
EXPLAIN (VALUES (1))
EXPLAIN WITH x AS (SELECT 1) SELECT * FROM x
EXPLAIN SELECT nextval('s')
EXPLAIN SELECT * FROM unlogged_t
EXPLAIN INSERT INTO t VALUES (1)
EXPLAIN (ANALYZE) DELETE FROM t
EXPLAIN ANALYZE UPDATE t SET a = 1
EXPLAIN WITH x AS (DELETE FROM t RETURNING 1) SELECT 1
EXPLAIN DECLARE c CURSOR FOR SELECT 1
EXPLAIN EXECUTE p
EXPLAIN CREATE TABLE x AS SELECT 1
EXPLAIN
EXPLAIN EXPLAIN SELECT 1
EXPLAIN SHOW search_path
# COPY
COPY t TO STDOUT
COPY t TO STDOUT;
COPY public.t (a, b) TO STDOUT WITH (FORMAT csv, HEADER)
COPY t TO STDOUT WITH CSV HEADER FORCE QUOTE a, b
COPY (SELECT * FROM t) TO STDOUT
COPY (SELECT * FROM t WHERE a IN (1, 2)) TO STDOUT (FORMAT binary)
COPY (VALUES (1)) TO STDOUT; SELECT 1
COPY (WITH x AS (SELECT 1) SELECT * FROM x) TO STDOUT
COPY (TABLE t) TO STDOUT
COPY unlogged_t TO STDOUT
COPY temp_t TO STDOUT
COPY nowhere TO STDOUT
COPY (SELECT nextval('s')) TO STDOUT
COPY (SELECT * FROM unlogged_t) TO STDOUT
COPY (DELETE FROM t RETURNING *) TO STDOUT
COPY (INSERT INTO t VALUES (1) RETURNING *) TO STDOUT
COPY t TO '/tmp/x'
COPY t TO PROGRAM 'cat'
COPY (SELECT 1) TO '/tmp/x'
COPY (SELECT 1) TO PROGRAM 'cat'
COPY t FROM STDIN
COPY t FROM '/tmp/x'
COPY t (a) FROM STDIN
COPY BINARY t TO STDOUT
COPY t TO STDIN
COPY
# system catalogs
SELECT * FROM pg_class
SELECT * FROM pg_catalog.pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
SELECT * FROM pg_stats
SELECT * FROM information_schema.tables
SELECT * FROM information_schema.columns WHERE table_name = 't'
SELECT * FROM pg_stat_activity
SELECT * FROM pg_catalog.pg_stat_activity
SELECT * FROM pg_stat_replication
SELECT * FROM pg_locks
SELECT * FROM pg_settings
SELECT * FROM pg_prepared_xacts
SELECT * FROM pg_cursors
SELECT * FROM pg_sequences
SELECT * FROM view_of_activity
# several statements
SELECT 1; SELECT 2
SELECT 1; SELECT * FROM t; SHOW search_path
SELECT 1; SELECT nextval('s')
SELECT 1; DELETE FROM t
DELETE FROM t; SELECT 1
SELECT 1; SET work_mem = 1
BEGIN; SELECT 1; COMMIT
SELECT 1; COMMIT
SELECT ';DELETE FROM t'; SELECT 1
SELECT 1; -- DELETE FROM t↵; SELECT 2
SELECT * FROM t; , nowhere
WITH x AS (SELECT 1) SELECT * FROM x; SELECT * FROM x
# comments and hints
/* app */ SELECT 1
-- app↵SELECT 1
SELECT/**/1
SELECT /* ; DELETE */ 1 -- DELETE
SELECT * FROM t /* trace='x' */
/*NO LOAD BALANCE*/ SELECT 1
/* no load balance */ SELECT 1
SELECT 1 /*NO LOAD BALANCE*/
SELECT /* NO LOAD BALANCE */ * FROM t
SELECT '/*NO LOAD BALANCE*/'
SELECT "/*NO LOAD BALANCE*/" FROM t
SELECT $$/*NO LOAD BALANCE*/$$
-- /*NO LOAD BALANCE*/↵SELECT 1
/* pgring: node=primary */ SELECT 1
/*pgring:node=primary*/ SELECT 1
/* PGRING: NODE = PRIMARY */ SELECT 1
/* pgring: node=standby */ SELECT 1
/* pgring: node=standby */ DELETE FROM t
/* pgring: node=replica2 */ SELECT 1
/* pgring: node=replica2 */ SELECT 1 /* pgring: node=primary */
/* pgring: node= */ SELECT 1
/* pgring: nodes=primary */ SELECT 1
/*REPLICATION*/ SELECT 1
SELECT 'patterned'
SELECT 1 /* patterned */
# quotes
SELECT 'a''b', E'a\'b', U&'\0061', B'01', X'1f', N'x', $$a'b$$, $x$ $$ $x$
SELECT 'a\', nextval('s'), '\'
SELECT 'a\', nextval(''s''), '''
SELECT 'a\' || 'b'
SELECT '\' FROM t WHERE a = '\'
SELECT E'\', nextval(\'s\') --'
SELECT 'a'↵'b' FROM t
SELECT $$nextval('s')$$
SELECT "a""b" FROM t
SELECT "a""b".c FROM t
SELECT * FROM "a""b"
SELECT 'a
SELECT "a
SELECT $$a
SELECT 1 /* a
SELECT E'a\'
SELECT U&"d\0061t" FROM t
SELECT $1, $2::int FROM t WHERE a = $3
SELECT a$b FROM t
SELECT é FROM t
SELECT * FROM é
# odd texts
1
(1)
()
((
)
SELECT (
SELECT )
SELECT 1)
SELECT ((((1))))
SELECT [1]
SELECT 1 FROM
SELECT 1 FROM ,
SELECT 1 FROM t,
SELECT 1 FROM t.
SELECT 1 FROM .t
SELECT a.(nextval('s'))
SELECT FROM FROM t
SELECTED
SELECT1
EXPLAINS SELECT 1
"SELECT" 1
'SELECT' 1
# everything else
INSERT INTO t VALUES (1)
INSERT INTO t SELECT * FROM t1
UPDATE t SET a = 1
DELETE FROM t
MERGE INTO t USING t1 ON true WHEN MATCHED THEN DELETE
TRUNCATE t
CREATE TABLE x AS SELECT 1
CREATE VIEW x AS SELECT 1
ALTER TABLE t ADD b int
DROP TABLE t
GRANT SELECT ON t TO r
COMMENT ON TABLE t IS 'x'
REFRESH MATERIALIZED VIEW matview
CALL p()
DO $$ BEGIN END $$
BEGIN
BEGIN READ ONLY
START TRANSACTION
COMMIT
END
ROLLBACK
ABORT
SAVEPOINT s
RELEASE s
ROLLBACK TO s
PREPARE TRANSACTION 'x'
COMMIT PREPARED 'x'
ROLLBACK PREPARED 'x'
SET search_path = x
SET LOCAL search_path = x
SET TRANSACTION READ ONLY
SET TRANSACTION ISOLATION LEVEL SERIALIZABLE
SET SESSION CHARACTERISTICS AS TRANSACTION READ WRITE
SET ROLE r
SET CONSTRAINTS ALL DEFERRED
RESET ALL
RESET search_path
DISCARD ALL
DISCARD PLANS
PREPARE p AS SELECT 1
PREPARE p AS SELECT * FROM unlogged_t
EXECUTE p
DEALLOCATE p
DEALLOCATE ALL
DECLARE c CURSOR FOR SELECT 1
DECLARE c CURSOR WITH HOLD FOR SELECT 1
FETCH 1 FROM c
MOVE 1 FROM c
CLOSE c
LISTEN c
UNLISTEN c
NOTIFY c
LOCK TABLE t
LOCK TABLE t IN ACCESS SHARE MODE
LOAD 'x'
VACUUM
VACUUM t
ANALYZE
ANALYZE t
REINDEX TABLE t
CLUSTER
CHECKPOINT
ALTER SYSTEM SET work_mem = 1
SECURITY LABEL ON TABLE t IS 'x'
IMPORT FOREIGN SCHEMA s FROM SERVER x INTO y
REASSIGN OWNED BY a TO b

-- What the players use, made by a superuser in both databases.
GRANT USAGE, CREATE ON SCHEMA public TO app, reader, writer;

CREATE SEQUENCE numbers;
CREATE SEQUENCE others;
CREATE TABLE numbered (id bigint DEFAULT nextval('numbers'), word text);

-- Each runs what it is told; some call themselves something that they are not.
CREATE FUNCTION run(what text) RETURNS int LANGUAGE plpgsql AS
    $$ BEGIN EXECUTE what; RETURN 1; END $$;
CREATE FUNCTION run_immutably(what text) RETURNS int LANGUAGE plpgsql IMMUTABLE AS
    $$ BEGIN EXECUTE what; RETURN 1; END $$;
CREATE FUNCTION run_stably(what text) RETURNS int LANGUAGE plpgsql STABLE AS
    $$ BEGIN EXECUTE what; RETURN 1; END $$;
CREATE FUNCTION run_by_sql(what text) RETURNS int LANGUAGE sql AS 'SELECT run(what)';
CREATE FUNCTION run_within(what text) RETURNS int LANGUAGE plpgsql AS
    $$ DECLARE one int; BEGIN SELECT run_by_sql(what) INTO one; RETURN one; END $$;
CREATE FUNCTION run_as_owner(what text) RETURNS int LANGUAGE plpgsql SECURITY DEFINER AS
    $$ BEGIN EXECUTE what; RETURN 1; END $$;
CREATE FUNCTION run_with_set(what text) RETURNS int LANGUAGE plpgsql SET work_mem = '8MB' AS
    $$ BEGIN EXECUTE what; RETURN 1; END $$;
CREATE FUNCTION run_and_fail(what text) RETURNS int LANGUAGE plpgsql AS
    $$ BEGIN EXECUTE what; RAISE division_by_zero; END $$;
CREATE FUNCTION run_and_recover(what text) RETURNS int LANGUAGE plpgsql AS
    $$ BEGIN PERFORM run_and_fail(what); RETURN 1; EXCEPTION WHEN division_by_zero THEN RETURN 2; END $$;
CREATE PROCEDURE perform(what text) LANGUAGE plpgsql AS $$ BEGIN EXECUTE what; END $$;
CREATE PROCEDURE perform_and_commit(what text) LANGUAGE plpgsql AS
    $$ BEGIN EXECUTE what; COMMIT; PERFORM 1; END $$;
CREATE PROCEDURE perform_and_roll_back(what text) LANGUAGE plpgsql AS
    $$ BEGIN EXECUTE what; ROLLBACK; PERFORM 1; END $$;
CREATE FUNCTION load_library() RETURNS void LANGUAGE plpgsql SECURITY DEFINER AS
    $$ BEGIN LOAD 'auto_explain'; END $$;

-- Words that stand in the bodies, where they can be read.
CREATE FUNCTION set_setting() RETURNS int LANGUAGE plpgsql AS
    $$ BEGIN SET work_mem = '1111kB'; RETURN 1; END $$;
CREATE FUNCTION set_custom() RETURNS int LANGUAGE plpgsql AS
    $$ BEGIN PERFORM set_config('app.' || 'v', 'by a function', false); RETURN 1; END $$;
CREATE FUNCTION set_custom_by_sql() RETURNS text LANGUAGE sql AS
    $$ SELECT set_config('my.v', 'by a function', false) $$;
CREATE FUNCTION set_custom_within() RETURNS int LANGUAGE sql AS 'SELECT set_custom()';
CREATE FUNCTION set_custom_in_body() RETURNS text LANGUAGE sql
    BEGIN ATOMIC SELECT set_config('my.v', 'by a body', false); END;
CREATE FUNCTION take_role() RETURNS int LANGUAGE plpgsql AS $$ BEGIN SET ROLE reader; RETURN 1; END $$;
CREATE FUNCTION make_table() RETURNS int LANGUAGE plpgsql AS
    $$ BEGIN CREATE TEMP TABLE scratch0 (n int); RETURN 1; END $$;
CREATE FUNCTION take_lock() RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RETURN pg_try_advisory_lock(1); END $$;
CREATE FUNCTION take_lock_by_sql() RETURNS boolean LANGUAGE sql AS 'SELECT pg_try_advisory_lock(2)';
CREATE FUNCTION listen_to() RETURNS int LANGUAGE plpgsql AS $$ BEGIN LISTEN channel1; RETURN 1; END $$;

-- Where the words come from a row.
CREATE TABLE orders (what text);
INSERT INTO orders VALUES ('');
CREATE FUNCTION by_row() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    IF TG_OP = 'DELETE' THEN EXECUTE OLD.what; RETURN OLD; END IF;
    EXECUTE NEW.what; RETURN NEW; END $$;
CREATE FUNCTION by_order() RETURNS trigger LANGUAGE plpgsql AS $$ DECLARE words text; BEGIN
    SELECT what INTO words FROM public.orders; EXECUTE words; RETURN NULL; END $$;
CREATE FUNCTION by_order_of_event() RETURNS event_trigger LANGUAGE plpgsql AS $$ DECLARE words text; BEGIN
    SELECT what INTO words FROM public.orders; EXECUTE words; END $$;
CREATE TABLE before_row (what text);
CREATE TRIGGER t BEFORE INSERT OR UPDATE OR DELETE ON before_row FOR EACH ROW EXECUTE FUNCTION by_row();
CREATE TABLE after_row (what text);
CREATE TRIGGER t AFTER INSERT OR UPDATE OR DELETE ON after_row FOR EACH ROW EXECUTE FUNCTION by_row();
CREATE TABLE deferred (what text);
CREATE CONSTRAINT TRIGGER t AFTER INSERT ON deferred DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION by_row();
CREATE TABLE before_statement (n int);
CREATE TRIGGER t BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON before_statement EXECUTE FUNCTION by_order();
CREATE TABLE after_statement (n int);
CREATE TRIGGER t AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON after_statement EXECUTE FUNCTION by_order();
CREATE TABLE parted (n int, what text) PARTITION BY RANGE (n);
CREATE TABLE parted_1 PARTITION OF parted FOR VALUES FROM (0) TO (10);
CREATE TRIGGER t BEFORE INSERT ON parted_1 FOR EACH ROW EXECUTE FUNCTION by_row();
CREATE VIEW instead AS SELECT ''::text AS what;
CREATE TRIGGER t INSTEAD OF INSERT ON instead FOR EACH ROW EXECUTE FUNCTION by_row();
CREATE TABLE parents (id int PRIMARY KEY);
CREATE TABLE children (parent int REFERENCES parents ON DELETE CASCADE, what text);
CREATE TRIGGER t AFTER DELETE ON children FOR EACH ROW EXECUTE FUNCTION by_row();
CREATE TABLE ruled (what text);
CREATE RULE r AS ON INSERT TO ruled DO ALSO INSERT INTO before_row VALUES (NEW.what);
CREATE FUNCTION run_order() RETURNS int LANGUAGE plpgsql AS $$ DECLARE words text; BEGIN
    SELECT what INTO words FROM public.orders; EXECUTE words; RETURN 1; END $$;
CREATE TABLE defaulted (n int, by_default int DEFAULT run_order());
CREATE TABLE checked (what text CHECK (run(what) = 1));
CREATE DOMAIN checked_text AS text CHECK (run(VALUE) = 1);
CREATE TABLE of_domain (what checked_text);
CREATE TABLE generated (what text, n int GENERATED ALWAYS AS (run_immutably(what)) STORED);
CREATE TABLE indexed (what text);
CREATE INDEX ON indexed (run_immutably(what));
CREATE VIEW calling AS SELECT run_order();
CREATE TABLE secured (what text);
ALTER TABLE secured ENABLE ROW LEVEL SECURITY;
CREATE POLICY p ON secured USING (run_order() = 1) WITH CHECK (run(what) = 1);
CREATE FUNCTION run_with_number(what text, n int) RETURNS int LANGUAGE sql AS 'SELECT run(what)';
CREATE OPERATOR !!! (LEFTARG = text, RIGHTARG = int, FUNCTION = run_with_number);
CREATE TYPE wrapped AS (what text);
CREATE FUNCTION unwrap(w wrapped) RETURNS int LANGUAGE plpgsql AS $$ BEGIN RETURN public.run(w.what); END $$;
CREATE CAST (wrapped AS int) WITH FUNCTION unwrap(wrapped);
CREATE FUNCTION run_and_add(sum int, what text) RETURNS int LANGUAGE plpgsql AS
    $$ BEGIN RETURN sum + public.run(what); END $$;
CREATE AGGREGATE run_all(text) (SFUNC = run_and_add, STYPE = int, INITCOND = '0');
CREATE EVENT TRIGGER e ON ddl_command_end WHEN TAG IN ('CREATE SCHEMA') EXECUTE FUNCTION by_order_of_event();

-- What the ordinary player and the one who changes the schema work with.
CREATE TABLE items (id int PRIMARY KEY, name text, price numeric DEFAULT 1);
INSERT INTO items SELECT n, 'item ' || n, n FROM generate_series(1, 20) n;

GRANT ALL ON ALL TABLES IN SCHEMA public TO app, reader, writer;
GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO app, reader, writer;

CREATE SCHEMA a;
GRANT ALL ON SCHEMA a TO app;
SET SESSION AUTHORIZATION app;
CREATE TABLE t (x int);
INSERT INTO t VALUES (1), (2);
CREATE VIEW v AS SELECT 1 AS one;
CREATE FUNCTION f(n int) RETURNS int LANGUAGE sql AS 'SELECT 1';
CREATE TYPE mood AS ENUM ('calm');
CREATE TYPE pair AS (x int, y int);
RESET SESSION AUTHORIZATION;

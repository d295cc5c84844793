-- Privileges: granted, used, passed on, taken away.
CREATE SCHEMA p_main;
GRANT USAGE ON SCHEMA p_main TO PUBLIC;
SET search_path = p_main;
CREATE ROLE p_ann;
CREATE ROLE p_ben;
CREATE ROLE p_cleo;
CREATE ROLE p_group;
GRANT p_group TO p_cleo;
CREATE TABLE p_t (id int PRIMARY KEY, open text, secret text, CHECK (secret <> 'bad'));
CREATE VIEW p_v AS SELECT id, open FROM p_t;
CREATE SEQUENCE p_s;
CREATE TABLE p_i (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, v text);
CREATE TABLE p_n (id serial PRIMARY KEY, v text);
INSERT INTO p_t VALUES (1, 'o', 's');

-- Nothing was granted.
SET ROLE p_ann;
SELECT * FROM p_t;
INSERT INTO p_t VALUES (2, 'a', 'b');
UPDATE p_t SET open = 'x';
DELETE FROM p_t;
TRUNCATE p_t;
SELECT * FROM p_v;
SELECT nextval('p_s');
SELECT * FROM p_missing;
SELECT nope FROM p_t;
COPY p_t TO STDOUT;
LOCK TABLE p_t;
ALTER TABLE p_t ADD COLUMN x int;
ALTER TABLE p_t OWNER TO p_ann;
DROP TABLE p_t;
DROP VIEW p_v;
DROP SEQUENCE p_s;
CREATE INDEX ON p_t (open);
ALTER SEQUENCE p_s INCREMENT 2;
COMMENT ON TABLE p_t IS 'x';
CREATE TABLE p_new (a int);
CREATE SCHEMA p_sch;
GRANT SELECT ON p_t TO p_ben;
SELECT rolpassword FROM pg_authid;
EXPLAIN SELECT * FROM p_t;
PREPARE p_q AS SELECT * FROM p_t;
EXECUTE p_q;
DEALLOCATE p_q;
RESET ROLE;

-- Tables.
GRANT SELECT, INSERT ON p_t TO p_ann;
SET ROLE p_ann;
SELECT * FROM p_t;
INSERT INTO p_t VALUES (2, 'a', 'b');
INSERT INTO p_t VALUES (2, 'a', 'b') ON CONFLICT DO NOTHING;
INSERT INTO p_t VALUES (2, 'a', 'b') ON CONFLICT (id) DO UPDATE SET open = 'c';
SELECT * FROM p_t FOR UPDATE;
UPDATE p_t SET open = 'x' WHERE id = 1;
RESET ROLE;
GRANT UPDATE, DELETE ON TABLE p_t TO p_ben;
SET ROLE p_ben;
UPDATE p_t SET open = 'y';
UPDATE p_t SET open = 'y' WHERE id = 1;
UPDATE p_t SET open = secret;
UPDATE p_t SET open = 'y' RETURNING id;
DELETE FROM p_t WHERE id = 2;
DELETE FROM p_t;
RESET ROLE;
INSERT INTO p_t VALUES (1, 'o', 's'), (2, 'p', 'q');

-- Columns.
GRANT SELECT (id, open), UPDATE (open) ON p_t TO p_cleo;
SET ROLE p_cleo;
SELECT id, open FROM p_t ORDER BY id;
SELECT * FROM p_t;
SELECT count(*) FROM p_t;
SELECT id FROM p_t WHERE secret = 's';
SELECT p_t FROM p_t;
UPDATE p_t SET open = 'z' WHERE id = 1;
UPDATE p_t SET secret = 'z' WHERE id = 1;
SELECT id FROM p_t WHERE id = 1 FOR UPDATE;
SELECT a.id FROM p_t a JOIN p_t b USING (id) ORDER BY 1;
SELECT a.id FROM p_t a JOIN p_t b USING (secret) ORDER BY 1;
RESET ROLE;
SELECT has_column_privilege('p_cleo', 'p_t', 'open', 'SELECT'), has_column_privilege('p_cleo', 'p_t', 'secret', 'SELECT'), has_any_column_privilege('p_cleo', 'p_t', 'UPDATE'), has_table_privilege('p_cleo', 'p_t', 'SELECT');
SELECT attname, attacl FROM pg_attribute WHERE attrelid = 'p_t'::regclass AND attnum > 0 ORDER BY attnum;
REVOKE SELECT ON p_t FROM p_cleo;
SELECT attname, attacl FROM pg_attribute WHERE attrelid = 'p_t'::regclass AND attnum > 0 ORDER BY attnum;
REVOKE UPDATE (open) ON p_t FROM p_cleo;
GRANT DELETE (open) ON p_t TO p_cleo;
GRANT SELECT (nope) ON p_t TO p_cleo;

-- Views read as their owner.
GRANT SELECT ON p_v TO p_cleo;
SET ROLE p_cleo;
SELECT * FROM p_v ORDER BY id;
SELECT * FROM p_t;
RESET ROLE;
ALTER VIEW p_v OWNER TO p_ben;
SET ROLE p_cleo;
SELECT * FROM p_v ORDER BY id;
RESET ROLE;
ALTER VIEW p_v OWNER TO root;

-- Through groups, and everybody.
GRANT SELECT ON p_t TO p_group;
SET ROLE p_cleo;
SELECT id FROM p_t ORDER BY id;
RESET ROLE;
ALTER ROLE p_cleo NOINHERIT;
SET ROLE p_cleo;
SELECT id FROM p_t ORDER BY id;
SET ROLE p_group;
RESET ROLE;
ALTER ROLE p_cleo INHERIT;
REVOKE SELECT ON p_t FROM p_group;
GRANT SELECT ON p_t TO PUBLIC;
SET ROLE p_cleo;
SELECT id FROM p_t ORDER BY id;
RESET ROLE;
REVOKE SELECT ON p_t FROM PUBLIC;
GRANT pg_read_all_data TO p_group;
SET ROLE p_cleo;
SELECT id FROM p_t ORDER BY id;
INSERT INTO p_t VALUES (9, 'a', 'b');
RESET ROLE;
REVOKE pg_read_all_data FROM p_group;
GRANT pg_write_all_data TO p_group;
SET ROLE p_cleo;
INSERT INTO p_t VALUES (9, 'a', 'b');
SELECT id FROM p_t ORDER BY id;
RESET ROLE;
REVOKE pg_write_all_data FROM p_group;

-- Sequences, identity and serial columns.
GRANT INSERT ON p_i, p_n TO p_ann;
SET ROLE p_ann;
INSERT INTO p_i (v) VALUES ('a');
INSERT INTO p_n (v) VALUES ('a');
RESET ROLE;
GRANT USAGE ON SEQUENCE p_s, p_n_id_seq TO p_ann;
SET ROLE p_ann;
INSERT INTO p_n (v) VALUES ('a');
SELECT nextval('p_s'), currval('p_s');
SELECT setval('p_s', 10);
RESET ROLE;
GRANT UPDATE ON SEQUENCE p_s TO p_ann;
SET ROLE p_ann;
SELECT setval('p_s', 10);
RESET ROLE;
GRANT USAGE ON SEQUENCE p_t TO p_ann;
GRANT DELETE ON SEQUENCE p_s TO p_ann;
GRANT USAGE ON p_t TO p_ann;

-- Grant options.
GRANT SELECT ON p_t TO p_ben WITH GRANT OPTION;
GRANT SELECT ON p_t TO PUBLIC WITH GRANT OPTION;
SET ROLE p_ben;
GRANT SELECT ON p_t TO p_cleo WITH GRANT OPTION;
GRANT SELECT, INSERT ON p_t TO p_cleo;
GRANT INSERT ON p_t TO p_cleo;
GRANT ALL ON p_t TO p_group;
SET ROLE p_cleo;
GRANT SELECT ON p_t TO p_ben WITH GRANT OPTION;
GRANT SELECT ON p_t TO p_ann;
RESET ROLE;
SELECT relacl FROM pg_class WHERE relname = 'p_t';
REVOKE GRANT OPTION FOR SELECT ON p_t FROM p_ben;
REVOKE SELECT ON p_t FROM p_ben;
REVOKE SELECT ON p_t FROM p_ben CASCADE;
SELECT relacl FROM pg_class WHERE relname = 'p_t';
SET ROLE p_ann;
-- known: PostgreSQL warns for each column, too
REVOKE SELECT ON p_t FROM p_cleo;
RESET ROLE;
REVOKE ALL ON p_t FROM p_ann, p_ben, p_cleo, p_group;
REVOKE ALL ON p_t FROM root;
SELECT relacl FROM pg_class WHERE relname = 'p_t';
GRANT ALL ON p_t TO root;
GRANT SELECT ON p_t TO p_nobody;
GRANT SELECT ON p_nothing TO p_ann;
GRANT FLY ON p_t TO p_ann;

-- What a role is asked about.
SELECT has_table_privilege('p_ann', 'p_t', 'SELECT'), has_table_privilege('p_t', 'SELECT'), has_table_privilege('p_ann', 'p_i', 'INSERT, DELETE'), has_table_privilege('p_ann', 'p_i', 'INSERT WITH GRANT OPTION');
SELECT has_sequence_privilege('p_ann', 'p_s', 'USAGE'), has_schema_privilege('p_ann', 'public', 'USAGE'), has_schema_privilege('p_ann', 'public', 'CREATE'), has_database_privilege('p_ann', current_database(), 'CONNECT'), has_database_privilege('p_ann', current_database(), 'CREATE');
SELECT has_table_privilege('p_ann', 'p_nothing', 'SELECT');
SELECT has_table_privilege('p_nobody', 'p_t', 'SELECT');
SELECT has_table_privilege('p_ann', 'p_t', 'FLY');
SELECT has_table_privilege('p_ann', 0::oid, 'SELECT');
SELECT has_sequence_privilege('p_ann', 'p_t', 'SELECT');
SELECT acldefault('r', 10), acldefault('s', 10), acldefault('S', 10), acldefault('n', 10);

-- Schemas.
CREATE SCHEMA p_app;
CREATE TABLE p_app.x (a int);
GRANT SELECT ON p_app.x TO p_ann;
SET ROLE p_ann;
SELECT * FROM p_app.x;
SET search_path = p_app, p_main;
SELECT * FROM x;
SELECT current_schemas(false);
SET search_path = p_main;
RESET ROLE;
GRANT USAGE ON SCHEMA p_app TO p_ann;
SET ROLE p_ann;
SELECT * FROM p_app.x;
CREATE TABLE p_app.y (a int);
RESET ROLE;
GRANT CREATE ON SCHEMA p_app TO p_ann;
SET ROLE p_ann;
CREATE TABLE p_app.y (a int);
INSERT INTO p_app.y VALUES (1);
DROP TABLE p_app.x;
ALTER SCHEMA p_app RENAME TO p_app2;
DROP SCHEMA p_app;
RESET ROLE;
SELECT nspacl FROM pg_namespace WHERE nspname = 'p_app';
SELECT relowner::regrole, relacl FROM pg_class WHERE relname = 'y' AND relnamespace = 'p_app'::regnamespace;
ALTER SCHEMA p_app OWNER TO p_ben;
SELECT nspowner::regrole, nspacl FROM pg_namespace WHERE nspname = 'p_app';
GRANT SELECT ON SCHEMA p_app TO p_ann;
SELECT nspowner::regrole, nspacl FROM pg_namespace WHERE nspname = 'public';

-- All tables in a schema, and those to come.
GRANT SELECT ON ALL TABLES IN SCHEMA p_app TO p_cleo;
SELECT relname, relacl FROM pg_class WHERE relnamespace = 'p_app'::regnamespace ORDER BY 1;
ALTER DEFAULT PRIVILEGES IN SCHEMA p_app GRANT SELECT, INSERT ON TABLES TO p_cleo;
ALTER DEFAULT PRIVILEGES FOR ROLE p_ann GRANT USAGE ON SEQUENCES TO p_ben;
SELECT defaclrole::regrole, defaclnamespace::regnamespace, defaclobjtype, defaclacl FROM pg_default_acl ORDER BY 3;
CREATE TABLE p_app.z (a int);
SET ROLE p_ann;
CREATE SEQUENCE p_app.zs;
ALTER DEFAULT PRIVILEGES FOR ROLE p_ben GRANT SELECT ON TABLES TO p_ann;
RESET ROLE;
SELECT relname, relacl FROM pg_class WHERE relnamespace = 'p_app'::regnamespace ORDER BY 1;
-- known: a table's sequence has a later oid than the table
DROP ROLE p_ann;
ALTER DEFAULT PRIVILEGES IN SCHEMA p_app REVOKE ALL ON TABLES FROM p_cleo;
ALTER DEFAULT PRIVILEGES FOR ROLE p_ann REVOKE USAGE ON SEQUENCES FROM p_ben;
SELECT count(*) FROM pg_default_acl;

-- Owners.
ALTER TABLE p_i OWNER TO p_ann;
SELECT relname, relowner::regrole, relacl FROM pg_class WHERE relname IN ('p_i', 'p_i_id_seq') ORDER BY 1;
SET ROLE p_ann;
ALTER TABLE p_i ADD COLUMN more int;
ALTER TABLE p_i OWNER TO p_ben;
ALTER TABLE p_i OWNER TO p_nobody;
ALTER SEQUENCE p_i_id_seq OWNER TO p_ann;
RESET ROLE;
ALTER SEQUENCE p_i_id_seq OWNER TO root;
SELECT grantee, privilege_type, is_grantable FROM information_schema.table_privileges WHERE table_name = 'p_i' ORDER BY 1, 2;

-- Superusers' settings, and cleaning up.
SET ROLE p_ann;
SET log_statement = 'all';
RESET ROLE;
DROP TABLE p_t, p_i, p_n CASCADE;
DROP SEQUENCE p_s;
DROP TABLE p_app.x, p_app.y, p_app.z;
DROP SEQUENCE p_app.zs;
DROP SCHEMA p_app;
DROP SCHEMA p_main;
DROP ROLE p_ann, p_ben, p_cleo, p_group;

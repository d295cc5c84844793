-- Roles: made, changed, granted, become, dropped. The superuser of both systems is root.
CREATE ROLE r_alice LOGIN PASSWORD 'secret' CREATEDB CONNECTION LIMIT 3 VALID UNTIL '2031-05-06 07:08:09+00';
CREATE USER r_bob;
CREATE GROUP r_staff;
CREATE ROLE r_boss CREATEROLE NOINHERIT LOGIN ROLE r_bob ADMIN r_alice;
CREATE ROLE r_alice;
CREATE ROLE pg_mine;
CREATE ROLE "public";
CREATE ROLE "none";
CREATE ROLE r_twice LOGIN NOLOGIN;
CREATE ROLE r_limit CONNECTION LIMIT -5;
CREATE ROLE r_empty PASSWORD '';
CREATE ROLE r_sys SYSID 17;
CREATE ROLE r_until VALID UNTIL 'soon';
CREATE ROLE r_in IN ROLE r_staff, r_boss;
CREATE ROLE r_nowhere IN ROLE r_missing;
SELECT rolname, rolsuper, rolinherit, rolcreaterole, rolcreatedb, rolcanlogin, rolconnlimit, rolvaliduntil, rolpassword FROM pg_roles WHERE rolname LIKE 'r\_%' ORDER BY 1;
SELECT rolname, rolpassword LIKE 'SCRAM-SHA-256$4096:%' AS scram FROM pg_authid WHERE rolname LIKE 'r\_%' ORDER BY 1;
SELECT usename, usesuper, usecreatedb, passwd FROM pg_user WHERE usename LIKE 'r\_%' ORDER BY 1;
SELECT r.rolname, m.rolname AS member, admin_option FROM pg_auth_members a JOIN pg_roles r ON r.oid = a.roleid JOIN pg_roles m ON m.oid = a.member WHERE m.rolname LIKE 'r\_%' ORDER BY 1, 2;

-- Membership.
GRANT r_staff TO r_alice, r_bob;
GRANT r_staff TO r_bob;
GRANT r_staff TO r_bob WITH ADMIN OPTION;
GRANT r_alice TO r_alice;
GRANT r_alice TO r_staff;
GRANT r_missing TO r_bob;
GRANT r_staff TO r_missing;
-- known: PostgreSQL calls it an internal error
GRANT pg_database_owner TO r_bob;
GRANT pg_read_all_data TO r_bob;
REVOKE pg_read_all_data FROM r_bob;
REVOKE r_staff FROM r_sys;
REVOKE ADMIN OPTION FOR r_staff FROM r_bob;
REVOKE r_boss FROM r_bob;
ALTER GROUP r_staff ADD USER r_sys;
ALTER GROUP r_staff DROP USER r_sys;
SELECT pg_has_role('r_alice', 'r_staff', 'MEMBER'), pg_has_role('r_alice', 'r_staff', 'USAGE'), pg_has_role('r_alice', 'r_boss', 'USAGE WITH ADMIN OPTION'), pg_has_role('r_bob', 'r_boss', 'MEMBER');
SELECT pg_has_role('r_nobody', 'r_staff', 'MEMBER');
SELECT pg_has_role('r_bob', 'r_staff', 'KNOWS');

-- Becoming another role.
SELECT current_user, session_user, current_role, user;
SET ROLE r_bob;
SELECT current_user, session_user;
SHOW role;
SHOW is_superuser;
CREATE ROLE r_by_bob;
ALTER ROLE r_alice CREATEDB;
ALTER ROLE r_bob PASSWORD 'new';
ALTER ROLE r_bob CREATEDB;
DROP ROLE r_alice;
ALTER ROLE r_alice RENAME TO r_other;
GRANT r_staff TO r_bob;
SET ROLE r_missing;
SET ROLE r_staff;
SELECT current_user;
SET ROLE r_alice;
RESET ROLE;
SELECT current_user;
SET ROLE NONE;
SET SESSION AUTHORIZATION r_alice;
SELECT current_user, session_user;
SET ROLE r_bob;
SET ROLE r_staff;
SELECT current_user, session_user;
SET SESSION AUTHORIZATION r_missing;
SET SESSION AUTHORIZATION r_bob;
SELECT current_user, session_user;
RESET SESSION AUTHORIZATION;
SELECT current_user, session_user;
BEGIN;
SET LOCAL ROLE r_bob;
SELECT current_user;
COMMIT;
SELECT current_user;
BEGIN;
SET ROLE r_bob;
ROLLBACK;
SELECT current_user;
BEGIN;
SET LOCAL SESSION AUTHORIZATION r_alice;
SELECT current_user, session_user;
ROLLBACK;
SELECT current_user, session_user;

-- A role that may make roles.
SET SESSION AUTHORIZATION r_boss;
CREATE ROLE r_mine;
CREATE ROLE r_super SUPERUSER;
ALTER ROLE root NOLOGIN;
ALTER ROLE r_mine SUPERUSER;
GRANT root TO r_mine;
DROP ROLE r_boss;
DROP ROLE r_mine, r_none;
DROP ROLE IF EXISTS r_none;
DROP ROLE r_mine;
RESET SESSION AUTHORIZATION;

-- Settings of roles.
ALTER ROLE r_alice SET search_path = app, public;
ALTER ROLE r_alice SET statement_timeout = '5s';
ALTER ROLE r_alice SET nothing_known = 1;
ALTER ROLE r_alice SET my.own = 'x';
ALTER ROLE r_alice SET statement_timeout TO 'long';
SELECT rolname, rolconfig FROM pg_roles WHERE rolname = 'r_alice';
-- known: the message says why it makes no sense
ALTER ROLE r_alice SET transaction_isolation = 'read committed';
ALTER ROLE r_alice RESET statement_timeout;
SELECT rolconfig FROM pg_roles WHERE rolname = 'r_alice';
ALTER ROLE r_alice RESET ALL;
SELECT rolconfig FROM pg_roles WHERE rolname = 'r_alice';
SET ROLE r_bob;
ALTER ROLE r_bob SET application_name = 'mine';
ALTER ROLE r_alice SET application_name = 'yours';
ALTER ROLE ALL SET application_name = 'ours';
RESET ROLE;
ALTER ROLE r_bob RESET ALL;

-- Renaming and dropping.
ALTER ROLE r_sys RENAME TO r_alice;
ALTER ROLE r_sys RENAME TO r_renamed;
ALTER ROLE root RENAME TO r_root;
CREATE SCHEMA r_schema AUTHORIZATION r_alice;
CREATE TABLE r_schema.t (a int);
GRANT SELECT ON r_schema.t TO r_bob;
ALTER ROLE r_bob RENAME TO r_robert;
SELECT relacl FROM pg_class WHERE relname = 't' AND relnamespace = 'r_schema'::regnamespace;
DROP ROLE r_robert;
DROP ROLE r_alice;
REASSIGN OWNED BY r_alice TO r_staff;
SELECT nspowner::regrole FROM pg_namespace WHERE nspname = 'r_schema';
DROP OWNED BY r_robert;
DROP ROLE r_robert, r_alice;
DROP SCHEMA r_schema CASCADE;
DROP ROLE r_staff, r_boss, r_empty, r_renamed, r_in;
SELECT rolname FROM pg_roles WHERE rolname LIKE 'r\_%';
SELECT count(*) FROM pg_auth_members a WHERE NOT EXISTS (SELECT FROM pg_roles r WHERE r.oid = a.member);

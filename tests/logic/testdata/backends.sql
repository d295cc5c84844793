-- One session sees, interrupts and ends another.
-- conn two
set application_name = 'victim';
-- conn two
-- background
select pg_sleep(20);
-- conn main
select application_name, state, query, usename, datname from pg_stat_activity where application_name = 'victim';
-- conn main
select pg_cancel_backend(pid) from pg_stat_activity where application_name = 'victim';
-- conn two
select 1;
-- conn two
begin;
-- conn main
select state from pg_stat_activity where application_name = 'victim';
-- conn main
select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'victim';
-- conn main
select pg_sleep(0.2);
-- conn two
select 1;
-- conn main
select count(*) from pg_stat_activity where application_name = 'victim';
-- conn main
select pg_terminate_backend(2147480000);
-- conn three
set application_name = 'victim';
-- conn main
select pg_terminate_backend(pid, -1) from pg_stat_activity where application_name = 'victim';
-- conn main
select pg_terminate_backend(pid, 10000) from pg_stat_activity where application_name = 'victim';
-- conn main
select count(*) from pg_stat_activity where application_name = 'victim';

-- Dates and times.
select date '2024-02-29', date '2024-02-29' + 1, date '2024-03-01' - date '2024-02-01', date 'infinity', date '-infinity', date '0044-03-15 BC';
-- known: the error has no position
select date '2023-02-29';
-- known: the error has no position
select date 'foo';
-- known: the error has no position
select '2024-13-01'::date;
select timestamp '2024-01-15 12:34:56.789', timestamp '2024-01-15', timestamptz '2024-01-15 12:00:00+02', timestamptz '2024-01-15 12:00:00 Europe/Berlin', timestamp 'infinity';
select timestamp '2024-01-31' + interval '1 month', timestamp '2024-03-31' - interval '1 month', timestamp '2024-01-01' + interval '1 year 2 days 3 hours';
select timestamp '2024-03-01' - timestamp '2024-01-01 12:00', age(timestamp '2024-03-01', timestamp '2023-01-15'), timestamp '2024-01-01' < timestamp '2024-01-02';
select interval '1 day', interval '1 year 2 months 3 days 04:05:06', interval '-1 day', interval '90 minutes', interval 'P1Y2M', interval '1.5 days', interval '1' hour, interval '1:30' minute to second;
select interval '1 day' * 2.5, interval '1 day' / 2, -interval '1 day', interval '1 month' = interval '30 days', interval '25 hours' > interval '1 day', interval '1 day' + time '01:00';
select time '12:34:56', time '24:00', time '12:34:56.789123', timetz '12:00+02', time '10:00' + interval '30 min', time '10:00' - time '08:30';
select time '25:00';
select extract(year from date '2024-05-06'), extract(month from timestamp '2024-05-06'), extract(dow from date '2024-05-05'), extract(doy from date '2024-12-31'), extract(epoch from timestamptz '2024-01-01 00:00:00+00'), extract(week from date '2024-01-01'), extract(quarter from date '2024-05-01'), extract(microseconds from time '00:00:01.5');
select date_part('hour', timestamp '2024-01-01 13:14'), date_part('second', interval '1:02:03.5'), extract(isoyear from date '2024-12-30'), extract(century from date '2001-01-01'), extract(timezone from timestamptz '2024-01-01 00:00+05');
select date_trunc('month', timestamp '2024-05-17 10:11'), date_trunc('hour', timestamptz '2024-05-17 10:11+00'), date_trunc('week', date '2024-05-17'), date_trunc('quarter', timestamp '2024-05-17');
select date_trunc('foo', timestamp '2024-05-17');
select to_char(timestamp '2024-05-06 07:08:09', 'YYYY-MM-DD HH24:MI:SS'), to_char(date '2024-05-06', 'Day, DD Mon YYYY'), to_char(timestamp '2024-05-06 17:08', 'HH12:MI AM'), to_char(interval '3 days', 'DD');
select to_date('2024-05-06', 'YYYY-MM-DD'), to_timestamp('2024-05-06 07:08', 'YYYY-MM-DD HH24:MI'), to_timestamp(0), make_date(2024, 5, 6), make_time(1, 2, 3.5), make_timestamp(2024, 5, 6, 7, 8, 9), make_interval(days => 10);
set timezone = 'Europe/Berlin';
select timestamptz '2024-01-15 12:00:00+00', timestamptz '2024-07-15 12:00:00+00', timestamp '2024-07-15 12:00' at time zone 'UTC', timestamptz '2024-07-15 12:00+00' at time zone 'America/New_York', '2024-03-31 02:30'::timestamptz;
select timestamptz '2024-01-15 12:00:00+00'::date, '2024-01-15'::date::timestamptz, timestamptz '2024-01-15 12:00:00+00'::timestamp;
set timezone = 'UTC';
set datestyle = 'SQL, DMY';
select date '2024-05-06', timestamp '2024-05-06 07:08:09', timestamptz '2024-05-06 07:08:09+00', '06/05/2024'::date;
set datestyle = 'German';
select date '2024-05-06', timestamp '2024-05-06 07:08:09';
set datestyle = 'Postgres, MDY';
select date '2024-05-06', timestamp '2024-05-06 07:08:09', timestamptz '2024-05-06 07:08:09+00';
set datestyle = 'ISO, MDY';
select '05/06/2024'::date, 'May 6, 2024'::date, '20240506'::date, '2024-05-06T07:08:09Z'::timestamptz, '6 May 2024 07:08'::timestamp;
set intervalstyle = 'iso_8601';
select interval '1 year 2 months 3 days 04:05:06.5';
set intervalstyle = 'sql_standard';
select interval '1 year 2 months 3 days 04:05:06.5';
set intervalstyle = 'postgres_verbose';
select interval '1 year 2 months 3 days 04:05:06.5';
reset intervalstyle;
select timestamp(0) '2024-01-01 12:00:00.6', timestamp(3) '2024-01-01 12:00:00.123456', time(0) '12:00:00.5', interval(0) '1.6 seconds';
select date '2024-01-01' between '2023-12-31' and '2024-01-02', (date '2024-01-01', date '2024-02-01') overlaps (date '2024-01-15', date '2024-03-01');
select justify_days(interval '35 days'), justify_hours(interval '27 hours'), justify_interval(interval '1 mon -1 hour');
select now() = now(), current_timestamp = now(), current_date = now()::date, statement_timestamp() >= now(), clock_timestamp() >= now(), localtimestamp = now()::timestamp;
select timestamp '294276-12-31 23:59:59', date '5874897-12-31';
-- known: the error has no position
select timestamp '294277-01-01';
select isfinite(date 'infinity'), isfinite(interval '1 day'), date 'infinity' > date '2024-01-01';
select generate_series(date '2024-01-01', date '2024-01-03', interval '1 day');
select date_bin('15 minutes', timestamp '2024-01-01 10:22', timestamp '2024-01-01');

-- integers
1 + 1
2147483647 + 1
2147483647::int8 + 1
9223372036854775807 + 1
(-2147483648) - 1
46341 * 46341
3037000500 * 3037000500
7 / 2
-7 / 2
7 % -3
-7 % 3
1 / 0
1 % 0
(-2147483648)::int4 / -1
(-32768)::int2 / (-1)::int2
(-9223372036854775808) % -1
32767::int2 + 1::int2
1::int2 + 1::int4
1::int2 * 1::int8
-(-2147483648)::int4
abs(-5)
abs((-2147483648)::int4)
abs(-9223372036854775808)
5 & 3
5 | 3
5 # 3
~5
1 << 31
1 << 32
1 << 33
-8 >> 1
1::int8 << 40
gcd(12, 18)
gcd(0, 0)
lcm(4, 6)
lcm(2147483647, 2)
mod(7, 3)
div(7, 2)
sign(-3)
'12'::int4
' 12 '::int4
'12a'::int4
''::int4
'99999999999'::int4
'-9223372036854775808'::int8
'9223372036854775808'::int8
'32768'::int2
'+5'::int2
'4294967295'::oid
'4294967296'::oid
'-1'::oid
(-1)::oid
3000000000::int4
40000::int2
1.5::int4
2.5::int4
-2.5::int4
2.5::float8::int4
3.5::float8::int4
-0.5::float8::int4
1e10::float8::int4
'NaN'::float8::int4
'NaN'::numeric::int4
'Infinity'::numeric::int8
1 = 1.0
1 < 2.5
1::int2 < 2::int8
2 > 1 and 1 <= 1
1 <> 2
int4(5.7)
to_hex(255)
to_hex(-1)
to_hex((-1)::int8)
1 between 0 and 2
5 in (1, 2, 5)
5 in (1, 2, null)
5 not in (1, 2)
5 not in (1, 2, null)
null in (1, 2)
5 in (5.0, 6)
'a' in ('a', 'b')
1 = any(array[1,2,3])
1 = any('{1,2,3}')
4 = any(array[1,null,3])
1 < all(array[2,3])
1 < all(array[2,null])
1 < all('{}'::int4[])
null = any('{}'::int4[])
-- booleans
true and null
false and null
true or null
false or null
not null::bool
not true
't'::bool
'yes'::bool
'of'::bool
'o'::bool
'1'::bool
'maybe'::bool
1::bool
0::bool
true::int4
true::text
null::bool is true
null::bool is not true
null::bool is unknown
true is not false
1 is null
null is null
true > false
1 = true
1 and true
case when 1 then 2 end
bool 'true'
-- floats
1.0::float8 / 3
1.0::float4 / 3
0.1::float8 + 0.2::float8
0.1::float4 + 0.2::float4
1e308::float8 * 10
1e-308::float8 / 1e100::float8
1::float8 / 0
'NaN'::float8 = 'NaN'::float8
'NaN'::float8 > 'Infinity'::float8
'inf'::float8 - 'inf'::float8
'-Infinity'::float8
'1e400'::float8
'1e-400'::float8
'1e39'::float4
'abc'::float8
'1e15'::float8
'1e14'::float8
123456789012345678::float8
1234567.0::float4
100000::float4
1e6::float4
0.0001::float8
0.00001::float8
1e-5::float4
1.5e300::float8
5e-324::float8
3.4028235e38::float4
-0.0::float8
'-0'::float8
sqrt(2::float8)
sqrt(-1::float8)
power(2::float8, 10)
power(0::float8, -1)
power(-8::float8, 1.0/3)
exp(1::float8)
exp(1000::float8)
ln(10::float8)
ln(0::float8)
ln(-1::float8)
log(100::float8)
round(2.5::float8)
round(-2.5::float8)
round(3.5::float8)
ceil(1.2::float8)
floor(-1.2::float8)
trunc(-1.7::float8)
sign(-2.0::float8)
sin(1)
cos(1)
atan2(1, 2)
asin(2)
degrees(pi())
radians(180)
pi()
width_bucket(5.35, 0.024, 10.06, 5)
width_bucket(5.35::float8, 0.024, 10.06, 5)
width_bucket(0, 10, 0, 5)
width_bucket(1, 0, 0, 5)
1::float4 + 1::float8
1::float8 + 1
1.1::float4::float8
1.1::float8::float4
1e40::float8::float4
1e-50::float8::float4
0.1::float4::numeric
0.1::float8::numeric
1234567890.123456789::float8::numeric
1e20::float8::numeric
float8 '1e10' = 1e10
3.0::float8::text
1e100::float8
-- numeric
1.10 + 2.205
1.1 * 1.1
1.0 / 3
1 / 3.0
10.0 / 3.00
1.0 / 3.0000000000000000000000
100000000000000000000.0 / 3
0.00001 / 3
1e20 / 7
1e-20 / 7
22.0 / 7
2 / 3.0
0.0 / 5
5.0 / 0
5.5 % 2
-5.5 % 2.1
mod(5.5, 0)
div(9.9, 2)
div(-9.9, 2)
round(2.5)
round(-2.5)
round(2.345, 2)
round(1234.567, -2)
round(0.5)
round(1.45, 1)
round(123.456, 5)
trunc(2.999, 2)
trunc(-1234.567, -2)
trunc(2.9)
ceil(1.1)
ceil(-1.1)
floor(-1.1)
floor(1.9)
ceiling(0.0001)
abs(-1.50)
sign(-1.5)
sign(0.0)
-1.5
- (-0.0)
sqrt(2.0)
sqrt(0.0)
sqrt(-1.0)
sqrt(100.0)
sqrt(1e20)
sqrt(0.000001)
sqrt(123456789.123456789)
power(2.0, 3)
power(2.0, 0.5)
power(2.0, -3)
power(1.5, 100)
power(10.0, 20)
power(0.0, 0)
power(0.0, -1)
power(-2.0, 3)
power(-2.0, 0.5)
power(1.000001, 1000000)
2 ^ 10
2.0 ^ 0.3
2 ^ 0.5
10.0 ^ -5
0.5 ^ 50
exp(1.0)
exp(0.0)
exp(-10.0)
exp(50.5)
exp(10.00)
ln(2.0)
ln(10.0)
ln(1.0)
ln(0.5)
ln(1.0001)
ln(1e50)
ln(0.0)
ln(-1.0)
log(100.0)
log(2.0, 64.0)
log(10.0, 3)
log(1.5)
log10(1000.0)
factorial(5)
factorial(20)
factorial(-1)
scale(1.200)
min_scale(1.200)
trim_scale(1.200)
gcd(12.0, 18.5)
lcm(12.0, 18.5)
'NaN'::numeric
'Infinity'::numeric
'-inf'::numeric
'NaN'::numeric = 'NaN'::numeric
'NaN'::numeric > 1e100
'Infinity'::numeric - 'Infinity'::numeric
'Infinity'::numeric * 0
1 / 'Infinity'::numeric
'Infinity'::numeric / 0
'Infinity'::numeric > 'NaN'::numeric
1.0 = 1.00
1.10::text
1e3
1e-3
1.5e3
.5
5.
'1e5'::numeric
'1e-5'::numeric
' 1.50 '::numeric
'1.2.3'::numeric
''::numeric
'1e'::numeric
'-.5'::numeric
12.345::numeric(5,2)
12.345::numeric(4,1)
1234.5::numeric(4,1)
12345::numeric(4)
99.99::numeric(3,1)
0.12345::numeric(3,3)
1::numeric(3,3)
'NaN'::numeric(3,2)
'Infinity'::numeric(3,2)
1234567::numeric(3,-4)
123456789012345678901234567890.123456789 + 1
123456789012345678901234567890 * 987654321098765432109876543210
123456789012345678901234567890 / 987654321
9999999999999999999.9 + 0.1
18446744073709551615.5 * 2
-0.001 * 0.001
0.1 + 0.2
1.23::float8
123.456::int8
1e30::float8
12345678901234567890::float8
1e400::float8
2147483648::int4
123.5::int2
numeric '5' / 2
3 * 1.5
greatest(1, 2.5, 3)
least(1, null, -3.5)
greatest(null, null)
greatest('a', 'b')
coalesce(null, 1.5, 2)
coalesce(null, null)
coalesce(null, 'x')
nullif(1, 1)
nullif(1, 2)
nullif('a', 'b')
nullif(1, 1.0)
to_char(1234.5, '9999.99')
to_char(-1234.5, '9999.99')
to_char(1234567, '9,999,999')
to_char(12, '0000')
to_char(12, 'FM0000')
to_char(12.3, 'FM999.99')
to_char(0.1, '0.99')
to_char(0.1, '.99')
to_char(12345, '999')
to_char(-5, '9S')
to_char(-5, 'S9')
to_char(5, 'SG9')
to_char(-5, '9MI')
to_char(-5, '9PR')
to_char(485, '"Good number:"999')
to_char(1234.567, 'FM9999.00')
to_char(1e10, '9999999999')
to_char(125.8, '999D9')
to_char(3.1::float8, '9.99')
to_char(-0.5, '9.9')
to_char(0, '9')
to_char(0, 'FM9.9')
to_number('1,234.56', '9,999.99')
to_number('-12', 'S99')
-- text
'abc' || 'def'
'abc' || 1
1 || 'abc'
1 || 2
'a' || null
'a'::varchar || 'b'::varchar
'a'::char(3) || 'b'
length('héllo')
length('abc '::char(5))
length('abc  ')
octet_length('héllo')
bit_length('ab')
char_length('añb')
lower('ABC Éa')
upper('abc éa')
initcap('hello wORLD foo-bar 9ab éa')
substr('hello', 2)
substr('hello', 2, 3)
substr('hello', 0, 3)
substr('hello', -2, 4)
substr('hello', 2, -1)
substr('hello', 10)
substring('hello' from 2 for 3)
substring('hello' from 'l+')
substring('foobar' from 'o(.)b')
substring('foobar', 'x')
position('l' in 'hello')
position('' in 'hello')
position('z' in 'hello')
strpos('héllo', 'l')
trim('  x  ')
trim(both 'xy' from 'xyabcyx')
trim(leading 'x' from 'xxabc')
ltrim('  ab ')
rtrim('ab  ')
btrim('xxabxx', 'x')
rtrim('testxxzx', 'xyz')
lpad('hi', 5)
lpad('hi', 5, 'xy')
lpad('hello', 3)
rpad('hi', 5, 'xy')
rpad('hi', -1)
lpad('hi', 5, '')
left('abcde', 2)
left('abcde', -2)
right('abcde', 2)
right('abcde', -2)
left('abc', 10)
repeat('ab', 3)
repeat('ab', -1)
replace('abcabc', 'b', 'XX')
replace('abc', '', 'x')
reverse('héllo')
concat('a', 1, null, true, 2.50)
concat_ws(',', 'a', null, 'b', 3)
concat_ws(null, 'a', 'b')
split_part('a,b,c', ',', 2)
split_part('a,b,c', ',', 5)
split_part('a,b,c', ',', -1)
split_part('a,b,c', ',', 0)
split_part('abc', '', 1)
translate('12345', '143', 'ax')
ascii('a')
ascii('é')
ascii('')
chr(65)
chr(233)
chr(0)
md5('abc')
md5(''::bytea)
format('Hello %s', 'World')
format('%s %I %L', 'a', 'b c', 'it''s')
format('%2$s %1$s', 'a', 'b')
format('%10s|%-10s|', 'a', 'b')
format('%%')
format('%s')
format('%I', null)
format('%L', null)
format('%s', null)
format('%x', 1)
quote_ident('abc')
quote_ident('Abc d')
quote_ident('select')
quote_ident('a"b')
quote_literal('it''s')
quote_literal(E'a\\b')
quote_literal(5)
quote_nullable(null)
quote_nullable('x')
starts_with('abc', 'ab')
'abc' like 'a%'
'abc' like 'a_c'
'abc' like 'b%'
'abc' not like '%d'
'a%c' like 'a\%c'
'abc' like 'a\%c'
'abc' like '%b%'
'abc' like ''
'' like '%'
'abc' like 'abc\'
'a_c' like 'a#_c' escape '#'
'héllo' like 'h_llo'
'ABC' ilike 'a%'
'abc' like '%a%b%c%'
'aab' like '%ab'
'abc' ~ 'b'
'abc' ~ '^b'
'ABC' ~* 'b'
'abc' !~ 'd'
'abc' !~* 'B'
'abc' ~ '('
'abc' ~ '[b-'
'a1b2' ~ '^\w\d\w\d$'
'abc' similar to '(b|a)%'
'abc' similar to 'a_c'
'abc' not similar to 'a'
regexp_replace('abcabc', 'b', 'X')
regexp_replace('abcabc', 'b', 'X', 'g')
regexp_replace('abc', '(a)(b)', '\2\1')
regexp_replace('Hello World', '[a-z]', '*', 'g')
regexp_replace('foobarbaz', 'b(..)', 'X\1Y', 'g')
regexp_match('foobarbequebaz', '(bar)(beque)')
regexp_match('abc', 'x')
regexp_split_to_array('hello world foo', '\s+')
regexp_split_to_array('abc', '')
regexp_count('abcabc', 'b')
regexp_like('abc', 'B', 'i')
overlay('Txxxxas' placing 'hom' from 2 for 4)
overlay('abcdef' placing 'X' from 3)
string_to_array('a,b,c', ',')
string_to_array('a,b,,c', ',', '')
string_to_array('abc', null)
string_to_array('', ',')
array_to_string(array[1,null,3], ',')
array_to_string(array[1,null,3], ',', '*')
'abc'::varchar(2)
'abc'::char(5)
'abc'::char(2)
'abc '::char(5) = 'abc'
'abc '::char(5) = 'abc '::text
'abc'::char(5) || '|'
'abc'::char(5)::text || '|'
'abc'::name
'abc'::"char"
''::"char"
'a' < 'B'
'a' < 'b'
'abc' = 'ABC'
'a' || 'b' = 'ab'
'é' > 'z'
text 'x' || 5.5
convert_to('é', 'UTF8')
convert_from('\xc3a9', 'UTF8')
convert_from('\xff', 'UTF8')
to_hex(10) || 'x'
'abc' > null
hashtext('x') = hashtext('x')
-- bytea
'\xdeadBEEF'::bytea
'abc\000def'::bytea
'\x1'::bytea
'\xzz'::bytea
'a\b'::bytea
'\x01'::bytea || '\x02'::bytea
length('\x0102'::bytea)
encode('\x0102ff', 'hex')
encode('abc', 'base64')
encode('\x00ff41', 'escape')
decode('YWJj', 'base64')
decode('0102', 'hex')
decode('zz', 'hex')
decode('x', 'foo')
substring('\x010203'::bytea from 2 for 1)
position('\x02'::bytea in '\x0102'::bytea)
get_byte('\x0102', 1)
get_byte('\x0102', 5)
set_byte('\x0102', 0, 255)
sha256('abc')
'\x01'::bytea < '\x02'::bytea
'abc'::bytea::text
btrim('\x0001020300'::bytea, '\x00'::bytea)
bit_count('\xff01'::bytea)
-- uuid
'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11'::uuid
'{a0eebc999c0b4ef8bb6d6bb9bd380a11}'::uuid
'a0eebc99-9c0b-4ef8-bb6d'::uuid
'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'::uuid < 'b0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'::uuid
-- dates
'2024-02-29'::date
'2023-02-29'::date
'2024-1-5'::date
'January 8, 1999'::date
'1999-Jan-08'::date
'08-Jan-1999'::date
'1/8/1999'::date
'1/18/1999'::date
'18/1/1999'::date
'19990108'::date
'990108'::date
'1999.008'::date
'J2451187'::date
'January 8, 99 BC'::date
'0044-03-15 BC'::date
'infinity'::date
'-infinity'::date
'epoch'::date
'abc'::date
''::date
'2024-13-01'::date
'5874897-12-31'::date
'5874898-01-01'::date
'Jan 8 99'::date
'2024-01-01 10:00:00'::date
'2024-01-01'::date + 30
30 + '2024-01-01'::date
'2024-03-01'::date - '2024-02-01'::date
'2024-03-01'::date - 1
'2024-01-31'::date + interval '1 month'
'2024-01-01'::date + time '10:30'
'2024-01-01'::date < '2024-01-02'
'2024-01-01'::date = '2024-01-01 00:00:00'::timestamp
'infinity'::date > '2024-01-01'
'infinity'::date - '2024-01-01'::date
make_date(2024, 2, 29)
make_date(2023, 2, 29)
make_date(-44, 3, 15)
date '2024-01-01'::timestamp
date '2024-07-01'::timestamptz
date_part('year', date '2024-05-06')
extract(dow from date '2024-05-05')
extract(isodow from date '2024-05-05')
extract(week from date '2021-01-03')
extract(isoyear from date '2021-01-03')
extract(doy from date '2024-12-31')
extract(century from date '2000-12-31')
extract(century from date '2001-01-01')
extract(decade from date '1999-01-01')
extract(millennium from date '2001-01-01')
extract(julian from date '2000-01-01')
extract(epoch from date '2000-01-01')
extract(quarter from date '2024-05-06')
extract(hour from date '2024-05-06')
extract(foo from date '2024-05-06')
extract(year from date '0044-03-15 BC')
extract(year from 'infinity'::date)
extract(month from 'infinity'::date)
isfinite(date 'infinity')
-- time
'10:30'::time
'10:30:15.123456'::time
'10:30:15.1234567'::time
'10:30 PM'::time
'12:00 AM'::time
'24:00:00'::time
'25:00:00'::time
'040506'::time
'allballs'::time
'abc'::time
'10:30:60'::time
'10:30:15.999'::time(0)
time '10:00' + interval '3 hours'
time '23:00' + interval '3 hours'
time '10:00' - time '09:30'
time '10:00' < time '11:00'
extract(hour from time '10:30')
extract(second from time '10:30:15.5')
extract(epoch from time '10:30')
extract(day from time '10:30')
make_time(10, 30, 15.5)
make_time(25, 0, 0)
'10:30:00'::time::interval
'10:30:00'::time::text
-- timestamp
'2024-01-01 10:30:00'::timestamp
'2024-01-01T10:30:00.123456'::timestamp
'2024-01-01 10:30:00.1234565'::timestamp
'2024-01-01'::timestamp
'2024-01-01 10:30 PM'::timestamp
'Jan 1 2024 10:30:00'::timestamp
'20240101T103000'::timestamp
'20240101 103000'::timestamp
'Mon Jan 01 10:30:00 2024'::timestamp
'2024-01-01 10:30:00+05'::timestamp
'2024-01-01 25:00:00'::timestamp
'2024-01-01 24:00:00'::timestamp
'2024-01-01 10:60:00'::timestamp
'infinity'::timestamp
'epoch'::timestamp
'294276-12-31 23:59:59'::timestamp
'294277-01-01'::timestamp
'4713-01-01 BC'::timestamp
'4714-01-01 BC'::timestamp
'2024-01-01 10:30:00.6'::timestamp(0)
'2024-01-01 10:30:00.123456'::timestamp(3)
timestamp '2024-01-31 10:00' + interval '1 month'
timestamp '2024-03-31 10:00' - interval '1 month'
timestamp '2024-01-31 10:00' + interval '1 month 1 day 2 hours'
timestamp '2024-03-01 10:00' - timestamp '2024-02-01 12:30'
timestamp '2024-01-01' - date '2023-01-01'
interval '1 day' + timestamp '2024-01-01'
timestamp 'infinity' + interval '1 day'
timestamp 'infinity' - timestamp '2024-01-01'
timestamp '2024-01-01' < timestamp '2024-01-02'
age(timestamp '2024-03-01', timestamp '2023-01-15')
age(timestamp '2001-04-10', timestamp '1957-06-13')
age(timestamp '2023-01-15', timestamp '2024-03-01')
age(timestamp '2024-02-29 10:00', timestamp '2023-02-28 12:00')
date_trunc('hour', timestamp '2024-05-06 10:35:15.5')
date_trunc('week', timestamp '2024-05-05 10:35:15')
date_trunc('quarter', timestamp '2024-05-06')
date_trunc('decade', timestamp '2024-05-06')
date_trunc('century', timestamp '2024-05-06')
date_trunc('millennium', timestamp '2024-05-06')
date_trunc('milliseconds', timestamp '2024-05-06 10:35:15.123456')
date_trunc('foo', timestamp '2024-05-06')
date_trunc('day', interval '1 year 2 days 3 hours')
date_trunc('month', timestamptz '2024-05-06 10:00+00')
date_trunc('day', timestamptz '2024-05-06 02:00+00')
date_trunc('day', timestamptz '2024-05-06 02:00+00', 'UTC')
date_bin('15 minutes', timestamp '2024-05-06 10:37:00', timestamp '2001-01-01')
extract(year from timestamp '2024-05-06 10:35:15.5')
extract(second from timestamp '2024-05-06 10:35:15.5')
extract(milliseconds from timestamp '2024-05-06 10:35:15.5')
extract(microseconds from timestamp '2024-05-06 10:35:15.5')
extract(epoch from timestamp '2024-05-06 10:35:15.5')
extract(julian from timestamp '2024-05-06 12:00')
extract(timezone from timestamp '2024-05-06')
extract(epoch from timestamptz '2024-05-06 10:35:15.5+00')
extract(hour from timestamptz '2024-05-06 10:35:15.5+00')
extract(timezone from timestamptz '2024-05-06 10:35:15.5+00')
extract(timezone_hour from timestamptz '2024-01-06 10:35:15.5+00')
date_part('epoch', timestamp '2024-05-06 10:35:15.5')
date_part('second', timestamp '2024-05-06 10:35:15.25')
extract(year from timestamp 'infinity')
extract(day from timestamp 'infinity')
make_timestamp(2024, 5, 6, 10, 35, 15.5)
make_timestamptz(2024, 5, 6, 10, 35, 15.5)
make_timestamptz(2024, 5, 6, 10, 35, 15.5, 'UTC')
to_timestamp(1714991715.5)
to_timestamp(0)
(timestamp '2024-01-01 10:00', timestamp '2024-01-01 12:00') overlaps (timestamp '2024-01-01 11:00', timestamp '2024-01-01 13:00')
(date '2024-01-01', interval '10 days') overlaps (date '2024-01-05', date '2024-02-01')
-- timestamptz
'2024-01-01 10:00:00+00'::timestamptz
'2024-07-01 10:00:00Z'::timestamptz
'2024-07-01 10:00:00'::timestamptz
'2024-03-10 02:30:00'::timestamptz
'2024-11-03 01:30:00'::timestamptz
'2024-07-01 10:00:00 PST'::timestamptz
'2024-07-01 10:00:00 Europe/Paris'::timestamptz
'2024-07-01 10:00:00+05:30'::timestamptz
'2024-07-01 10:00:00-0330'::timestamptz
'2024-07-01 10:00:00+16'::timestamptz
'2024-07-01 10:00:00 Foo/Bar'::timestamptz
'1883-01-01 00:00:00+00'::timestamptz
'infinity'::timestamptz
timestamptz '2024-03-09 12:00' + interval '1 day'
timestamptz '2024-03-09 12:00' + interval '24 hours'
timestamptz '2024-03-10 12:00' - timestamptz '2024-03-09 12:00'
timestamp '2024-07-01 10:00' at time zone 'UTC'
timestamptz '2024-07-01 10:00+00' at time zone 'Asia/Tokyo'
timestamptz '2024-07-01 10:00+00' at time zone interval '-5 hours'
timestamptz '2024-07-01 10:00+00' at time zone 'foo'
timestamptz '2024-07-01 10:00+00'::timestamp
timestamptz '2024-07-01 02:00+00'::date
timestamptz '2024-07-01 02:00+00'::time
timestamptz '2024-07-01 10:00+00' = timestamp '2024-07-01 06:00'
timestamptz '2024-07-01 04:00+00' = date '2024-07-01'
age(timestamptz '2024-07-01', timestamptz '2024-01-01')
-- intervals
'1 day'::interval
'1 year 2 months 3 days 04:05:06.789'::interval
'-1 day'::interval
'1 day ago'::interval
'1.5 days'::interval
'1.5 months'::interval
'1.5 years'::interval
'1 week'::interval
'2 decades'::interval
'1-2'::interval
'1 2:03'::interval
'-1 +2:03'::interval
'P1Y2M3DT4H5M6S'::interval
'P0001-02-03T04:05:06'::interval
'PT1.5H'::interval
'P1W'::interval
'10'::interval
'10:20'::interval
'10 minutes 30 seconds'::interval
'foo'::interval
''::interval
'1 foo'::interval
'99999999999 years'::interval
'@ 1 minute'::interval
'1 hr 2 min'::interval
'500 ms'::interval
'1 century'::interval
interval '5' day
interval '5' hour
interval '1-2' year to month
interval '1 2:03:04' day to second
interval '10:20' minute to second
interval '1.23456789 seconds'
interval '1 day 2 hours 3 minutes'::interval hour
interval '1.999 seconds'::interval(1)
interval '1 month' + interval '30 days'
interval '1 month' = interval '30 days'
interval '1 day' < interval '25 hours'
interval '1 day' * 2.5
interval '1 month' * 1.5
2 * interval '1 day 1 hour'
interval '1 day' / 3
interval '1 month' / 2
interval '1 day' / 0
- interval '1 day 2 hours'
interval '1 day' - interval '2 hours'
justify_hours(interval '30 hours')
justify_days(interval '35 days')
justify_interval(interval '1 mon -1 hour')
extract(epoch from interval '1 year 1 month 1 day')
extract(epoch from interval '1.5 seconds')
extract(hour from interval '30 hours')
extract(month from interval '15 months')
extract(year from interval '15 months')
extract(second from interval '1.5 seconds')
extract(day from interval '1 month 5 days')
date_part('epoch', interval '1 hour')
make_interval(days => 10)
make_interval(1, 2, 3, 4, 5, 6, 7.5)
make_interval(secs => 100)
interval '1 year -1 day'
interval '-1 year 2 days -03:04:05'
interval '1 day'::time
interval '26 hours'::time
'1 day'::interval::text
to_char(interval '15h 2m 12s', 'HH24:MI:SS')
-- to_char, to_date
to_char(timestamp '2024-05-06 15:04:05.678', 'YYYY-MM-DD HH24:MI:SS.MS')
to_char(timestamp '2024-05-06 15:04:05', 'Day, DD Month YYYY')
to_char(timestamp '2024-05-06 15:04:05', 'FMDay, FMDD FMMonth YYYY')
to_char(timestamp '2024-05-06 15:04:05', 'Dy DD Mon YY HH12:MI AM')
to_char(timestamp '2024-05-06 15:04:05', 'DDD WW IW Q J')
to_char(timestamp '2024-05-06 15:04:05', 'IYYY-"W"IW-ID')
to_char(timestamp '2024-05-06 15:04:05', 'MONTH mon DAY dy')
to_char(timestamp '2024-05-01 05:04:05', 'DDth FMMMth HH:MI pm')
to_char(timestamp '2024-05-06 15:04:05.123456', 'US FF3 SSSS')
to_char(timestamptz '2024-05-06 15:04:05+00', 'YYYY-MM-DD HH24:MI:SS TZ OF')
to_char(date '2024-05-06', 'YYYYMMDD')
to_char(timestamp '2024-05-06', 'Y,YYY CC RM BC')
to_date('2024-05-06', 'YYYY-MM-DD')
to_date('06 May 2024', 'DD Mon YYYY')
to_date('20240506', 'YYYYMMDD')
to_date('05/06/24', 'MM/DD/YY')
to_timestamp('2024-05-06 15:04:05', 'YYYY-MM-DD HH24:MI:SS')
to_timestamp('2024-05-06 03:04:05 PM', 'YYYY-MM-DD HH12:MI:SS AM')
to_date('foo', 'YYYY')
to_date('2024-13-01', 'YYYY-MM-DD')
-- arrays
array[1,2,3]
array[1,2.5]
array['a','b']
array[[1,2],[3,4]]
array[]::int4[]
array[null,1]
array[1,'2']
'{1,2,3}'::int4[]
'{a,"b c",NULL,"NULL"}'::text[]
'{{1,2},{3,4}}'::int4[]
'[0:2]={1,2,3}'::int4[]
'{}'::int4[]
'{1,2'::int4[]
'{1,a}'::int4[]
'{{1,2},{3}}'::int4[]
'abc'::int4[]
'{"a\"b"}'::text[]
array['a"b', 'c,d', '', 'e\f']
(array[1,2,3])[2]
(array[1,2,3])[5]
(array[[1,2],[3,4]])[2][1]
(array[[1,2],[3,4]])[1]
(array[1,2,3,4])[2:3]
(array[1,2,3,4])[:2]
(array[1,2,3,4])[3:]
('[0:2]={1,2,3}'::int4[])[0]
array_length(array[1,2,3], 1)
array_length(array[1,2,3], 2)
array_length('{}'::int4[], 1)
cardinality(array[[1,2],[3,4]])
array_ndims(array[[1,2],[3,4]])
array_dims(array[[1,2],[3,4]])
array_lower('[0:2]={1,2,3}'::int4[], 1)
array_upper(array[1,2,3], 1)
array_append(array[1,2], 3)
array_append(null::int4[], 3)
array_append(array[1,2], 3.5)
array_prepend(0, array[1,2])
array_cat(array[1,2], array[3])
array[1,2] || array[3,4]
array[1,2] || 3
0 || array[1,2]
array[1,2] || null
array[[1,2]] || array[3,4]
array_position(array['a','b','c'], 'b')
array_positions(array[1,2,1], 1)
array_remove(array[1,2,1], 1)
array_replace(array[1,2,1], 1, 9)
array_fill(7, array[2,2])
trim_array(array[1,2,3], 1)
array[1,2,3] @> array[2]
array[2] <@ array[1,2,3]
array[1,2] && array[2,3]
array[1,2] = array[1,2]
array[1,2] < array[1,3]
array[1,2,3] > array[1,2]
array[1,2]::text[]
array['1','2']::int4[]
array[1.5,2.5]::int4[]
array[1,2]::text
'{1,2}'::text::int4[]
array['a','b']::varchar(1)[]
array[date '2024-01-01']
array[1,2] = '{1,2}'
-- rows
row(1, 'a', null)
row(1, 'a') = row(1, 'a')
row(1, 2) < row(1, 3)
row(1, null) = row(1, null)
(1, 2) in ((1, 2), (3, 4))
row(1, null) is null
row(null, null) is null
row(1, 2) is not null
row(1, 'a b', 'c"d', '')
-- json
'{"b": 1, "a": [1, 2.50, "x"]}'::json
'{"b": 1, "a": [1, 2.50, "x"], "b": 3}'::jsonb
'{"a": }'::json
'[1, 2'::json
'{"a": {"b": 5}}'::jsonb -> 'a' -> 'b'
'{"a": "x"}'::jsonb ->> 'a'
'{"a": "x"}'::json -> 'a'
'{"a": "x"}'::json ->> 'a'
'[1, 2, 3]'::jsonb -> 1
'[1, 2, 3]'::jsonb -> -1
'[1, 2, 3]'::json ->> 2
'{"a": null}'::jsonb ->> 'a'
'{"a": {"b": [1, 2]}}'::jsonb #> '{a,b,1}'
'{"a": {"b": [1, 2]}}'::jsonb #>> '{a,b}'
'{"a": 1, "b": 2}'::jsonb @> '{"a": 1}'
'{"a": 1}'::jsonb ? 'a'
'{"a": 1}'::jsonb = '{"a": 1.0}'::jsonb
'{"a": 1}'::jsonb || '{"b": 2}'::jsonb
'{"a": 1, "b": 2}'::jsonb - 'a'
jsonb_typeof('[1]')
json_typeof('"a"')
jsonb_array_length('[1, 2]')
to_json('a"b'::text)
to_jsonb(1.50)
to_jsonb(array[1,2])
json_build_object('a', 1, 'b', 'x')
jsonb_build_object('a', 1, 'b', 'x')
jsonb_build_array(1, 'a', null, true)
'"\u00e9"'::jsonb
'"\ud83d\ude00"'::jsonb
'1e2'::jsonb
'true'::jsonb
'  {"a" : 1}  '::json
-- errors and resolution
1 + 'a'
1 + true
'1' + '2'
1 + '2'
1.5 + '2'
foo(1)
lower(1)
abs('x')
abs('-5')
length(5)
substring(5, 1)
'a' + 1
1 = 'x'
date '2024-01-01' + 'x'
true || 'x'
1::date
'2024-01-01'::date::int4
case when true then 1 else 'x' end
case when true then 1 else 2.5 end
case 1 when 1 then 'a' when 2 then 'b' end
case when false then 1 end
case when true then 1 else 1/0 end
coalesce(1, 'x')
array[1, 'x']
greatest(1, 'x')
1 is distinct from null
null is distinct from null
1 is distinct from 2
1 is not distinct from 1
pg_typeof(1)
pg_typeof(1.5)
pg_typeof('a')
pg_typeof(1 + 1.5)
pg_typeof(1::int2 + 1::int2)
pg_typeof(now())
pg_typeof(array[1])
pg_typeof(null)
format_type(23, -1)
format_type(1043, 14)
format_type(1700, 655366)
num_nulls(1, null, 'a')
num_nonnulls(1, null, 'a')
mod(10, 3.5)
round(5)
round(5, 2)
sqrt(4)
power(2, 3)
ln(5)
exp(1)
ceil(5)
trunc(5.5, 1)
log(8)
random() < 1
-- more
'abc'::varchar = 'abc'::text
'abc'::varchar || 1
1::text || 2::text
true::text || 'x'
date '2024-01-01' || 'x'
1.50::varchar
'5'::int4 + '6'::int4
5::char(3) || 'x'
123456::varchar(3)
'x'::varchar::char(3)
now() = now()
'now'::timestamptz = now()

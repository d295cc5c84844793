-- Strings: types, functions, patterns.
select 'abc', 'it''s', E'a\tb\\c', 'abc'::varchar(2), 'abc'::char(5), 'abc  '::char(5) = 'abc', length('abc  '::char(5));
select 'abcd'::varchar(3);
select 'a' || 'b', 'a' || 1, 1 || 'a', 'a' || null, 'x' || 1.5 || true;
select length('héllo'), octet_length('héllo'), bit_length('abc'), char_length('日本語'), upper('abc'), lower('ABC'), initcap('hello world');
select substring('hello' from 2 for 3), substring('hello', 2), substr('hello', 2, 2), substring('hello' from -1 for 3), left('hello', 2), right('hello', 2), left('hello', -2), right('hello', -2);
select substring('hello' from 2 for -1);
select position('l' in 'hello'), strpos('hello', 'lo'), overlay('hello' placing 'XX' from 2 for 3), replace('hello', 'l', 'LL'), translate('hello', 'el', 'ip'), reverse('abc'), repeat('ab', 3);
select trim('  x  '), ltrim('xxabc', 'x'), rtrim('abcxx', 'x'), btrim('xyabcyx', 'xy'), trim(both 'x' from 'xabcx'), trim(leading from '  a'), lpad('5', 3, '0'), rpad('ab', 5, '*'), lpad('hello', 2);
select split_part('a,b,c', ',', 2), split_part('a,b,c', ',', -1), split_part('abc', ',', 2), string_to_array('a,b,c', ','), array_to_string(array['a', null, 'c'], ',', '*');
select ascii('A'), chr(65), chr(8364), md5('abc'), encode('abc'::bytea, 'hex'), encode('abc'::bytea, 'base64'), decode('616263', 'hex'), to_hex(255);
select 'abc' like 'a%', 'abc' like '_b_', 'abc' like 'A%', 'abc' ilike 'A%', 'a%c' like 'a\%c', 'abc' not like 'x%', 'a_c' like 'a#_c' escape '#', null like 'a';
select 'abc' ~ 'b', 'abc' ~ '^b', 'ABC' ~* 'b', 'abc' !~ 'x', 'abc' similar to '(a|b)bc', 'abc' similar to 'a';
select regexp_replace('hello world', 'o', '0'), regexp_replace('hello world', 'o', '0', 'g'), regexp_replace('abc', '(b)', '[\1]'), regexp_match('foobarbaz', 'ba(.)');
select regexp_split_to_array('a1b2c', '[0-9]'), regexp_count('banana', 'a'), regexp_like('abc', 'B', 'i'), regexp_substr('foobar', 'o+');
select concat('a', null, 1, true), concat_ws('-', 'a', null, 'b'), format('%s is %s and %I %L', 'x', 1, 'my col', 'it''s'), quote_ident('my col'), quote_literal('it''s'), quote_nullable(null);
select 'a' < 'b', 'a' < 'B', 'abc' < 'abd', 'a' = 'a ', 'a'::char(3) = 'a '::char(3), 'Z' < 'a';
select 'abc'::text = 'abc'::varchar, 'x'::name, 'abc'::"char";
select '\x6162'::bytea, 'abc'::bytea, E'\\001'::bytea, length('\x6162'::bytea), '\x6162'::bytea || '\x63', get_byte('\x6162', 1), set_byte('\x6162', 0, 99), substring('\x616263'::bytea from 2 for 1);
select '\xzz'::bytea;
set bytea_output = escape;
select '\x00416100'::bytea, 'a\\b'::bytea;
reset bytea_output;
-- known: unistr is not supported yet
select starts_with('abc', 'ab'), 'abc' ^@ 'ab', to_char(12, 'RN'), unistr('\0041'), normalize('é', NFD) = 'é';
select string_agg(x, ',' order by x desc) from (values ('a'), ('c'), ('b')) t(x);
select 'abc'[1];
select U&'d\0061t\+000061', U&'d!0061' uescape '!';
select 'first'
'second';
select $$dollar $ quoted$$, $x$a $$ b$x$;
select length(repeat('x', 100000)), sha256('abc');
select convert_to('é', 'UTF8'), convert_from('\xc3a9', 'UTF8');
select convert_from('\xff', 'UTF8');

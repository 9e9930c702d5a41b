-- Writes the beat; answers with the seconds since the last one (negative after a backward step of the clock), or no
-- row at the very first.
with previous as (
  select at from beat
), written as (
  insert into beat (at) values (kiln_now()) on conflict (only_row) do update set at = excluded.at
)
select extract(epoch from kiln_now() - at)::float8 as "gapSeconds" from previous

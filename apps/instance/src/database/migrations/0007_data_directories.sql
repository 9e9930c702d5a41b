-- Data directories that instances of this database were started with. Each had an access token of the first site
-- admin at its first start; one that is deleted later is not made again.
create table data_directories (
  id uuid primary key,
  first_started_at timestamptz not null default now()
);

-- Repositories that jobs may use. The mirrors are a cache in each instance's data directory, so nothing here says
-- where they are; the columns from status on tell what the last fetch of any instance found.

create table repositories (
  id bigint generated always as identity primary key,
  name text collate "C" not null unique check (length(name) between 1 and 512),
  -- Never with credentials: shown to every user, and an argument of git.
  clone_url text not null check (length(clone_url) between 1 and 8192),
  status text not null default 'new' check (status in ('new', 'ready', 'failed')),
  last_error text,
  last_fetched_at timestamptz,
  default_branch text,
  head_commit text check (head_commit ~ '^[0-9a-f]{40}$'),
  size_bytes bigint check (size_bytes >= 0),
  created_at timestamptz not null default now(),
  check ((status = 'failed') = (last_error is not null))
);

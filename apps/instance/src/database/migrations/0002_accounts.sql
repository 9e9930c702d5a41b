-- Who may do what. A namespace is a user or an organization, by name; its id is the tenant of its jobs.

create table namespaces (
  id bigint generated always as identity primary key,
  name text not null check (length(name) between 1 and 255),
  kind text not null check (kind in ('user', 'organization')),
  created_at timestamptz not null default now()
);
-- Names differ by more than case: they stand in addresses, and people mistake them otherwise.
create unique index namespaces_name on namespaces (lower(name));

create table users (
  id bigint generated always as identity primary key,
  namespace_id bigint not null unique references namespaces (id) on delete cascade,
  site_admin boolean not null default false,
  created_at timestamptz not null default now()
);

create table access_tokens (
  id bigint generated always as identity primary key,
  user_id bigint not null references users (id) on delete cascade,
  note text not null,
  -- The token itself is shown once and never stored.
  token_sha256 bytea not null unique check (length(token_sha256) = 32),
  created_at timestamptz not null default now(),
  expires_at timestamptz,
  last_used_at timestamptz
);
create index access_tokens_user on access_tokens (user_id);

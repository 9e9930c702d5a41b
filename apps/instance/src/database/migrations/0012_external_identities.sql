-- Accounts of OpenID Connect providers with which users sign in.
create table external_identities (
  -- The two names that a provider never gives to another account (OpenID Connect Core 1.0, 5.7).
  issuer text not null,
  subject text not null,
  user_id bigint not null references users (id) on delete cascade,
  created_at timestamptz not null default now(),
  primary key (issuer, subject)
);
create index external_identities_user on external_identities (user_id);

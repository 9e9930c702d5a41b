-- Which directory holds the blobs of this database, while blobs are files of one machine.
create table blob_directory (
  only_row boolean primary key default true check (only_row),
  id uuid not null
);

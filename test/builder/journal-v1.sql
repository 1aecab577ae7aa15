-- What the first version of the journal left on the disk.
CREATE TABLE events (
  tag TEXT PRIMARY KEY,
  stream TEXT NOT NULL,
  seq INTEGER NOT NULL,
  delivery TEXT NOT NULL,
  topic TEXT NOT NULL,
  opened_at INTEGER NOT NULL,
  told INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE builds (
  id INTEGER PRIMARY KEY,
  tag TEXT NOT NULL REFERENCES events (tag),
  rule TEXT NOT NULL,
  raw_body BLOB,
  pid INTEGER,
  pid_started TEXT,
  exit TEXT,
  ms INTEGER,
  told INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX builds_to_run ON builds (id) WHERE raw_body IS NOT NULL;
CREATE INDEX builds_to_tell ON builds (id) WHERE exit IS NOT NULL AND told = 0;
PRAGMA user_version = 1;
INSERT INTO events (tag, stream, seq, delivery, topic, opened_at) VALUES
  ('tag-7', 'builder', 7, 'delivery-7', 'webhook.github.push', 1),
  ('tag-8', 'builder', 8, 'delivery-8', 'webhook.github.push', 1);
INSERT INTO builds (tag, rule, raw_body) VALUES ('tag-7', 'docs', x'7b7d'), ('tag-8', 'docs', x'7b7d');

"""The database's schema, as numbered migrations: the N-th brings version N-1 to version N.

A migration that has been released is never changed; another follows it. Labels, annotations and
runtime options are JSON objects as text; times are seconds since the epoch, UTC.

Whatever is visible belongs to a namespace, which cannot be removed while something does (the
foreign keys restrict it). What is shared between namespaces, `blobs` and `trees`, has no name of
its own and is there as long as a row of some namespace refers to it.
"""

from __future__ import annotations

APPLICATION_ID = 0x6D6F6279
"""`moby`: what file(1) and we ask before believing that a database is ours."""

MIGRATIONS = (
    """
    CREATE TABLE namespaces (
        name TEXT PRIMARY KEY,
        labels TEXT NOT NULL DEFAULT '{}',
        created REAL NOT NULL
    ) STRICT, WITHOUT ROWID;

    -- bytes that lie below content/blobs; diff_id: of what they unpack to, where we have unpacked
    -- them ourselves: never what somebody said
    CREATE TABLE blobs (
        digest TEXT PRIMARY KEY,
        size INTEGER NOT NULL,
        diff_id TEXT,
        added REAL NOT NULL
    ) STRICT, WITHOUT ROWID;

    -- fresh: until when it is kept although nothing refers to it, where it came without a lease
    CREATE TABLE content (
        namespace TEXT NOT NULL REFERENCES namespaces (name) ON DELETE RESTRICT,
        digest TEXT NOT NULL REFERENCES blobs (digest) ON DELETE RESTRICT,
        labels TEXT NOT NULL DEFAULT '{}',
        created REAL NOT NULL,
        updated REAL NOT NULL,
        fresh REAL,
        PRIMARY KEY (namespace, digest)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX content_by_digest ON content (digest);

    -- content/ingest/<directory>/ holds the bytes so far
    CREATE TABLE ingests (
        namespace TEXT NOT NULL REFERENCES namespaces (name) ON DELETE RESTRICT,
        ref TEXT NOT NULL,
        directory TEXT NOT NULL UNIQUE,
        total INTEGER,
        expected TEXT,
        started REAL NOT NULL,
        updated REAL NOT NULL,
        PRIMARY KEY (namespace, ref)
    ) STRICT, WITHOUT ROWID;

    -- a target is a descriptor; its blob need not be here
    CREATE TABLE images (
        namespace TEXT NOT NULL REFERENCES namespaces (name) ON DELETE RESTRICT,
        name TEXT NOT NULL,
        media_type TEXT NOT NULL,
        digest TEXT NOT NULL,
        size INTEGER NOT NULL,
        annotations TEXT NOT NULL DEFAULT '{}',
        labels TEXT NOT NULL DEFAULT '{}',
        created REAL NOT NULL,
        updated REAL NOT NULL,
        PRIMARY KEY (namespace, name)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX images_by_digest ON images (digest);

    -- directories snapshots/<snapshotter>/<id>; chain_id: of a committed tree that was unpacked from
    -- verified layers, the last of them diff_id, so that all namespaces with these layers share it.
    -- opaque: nothing of its parents' trees shows through it. size, inodes: of a
    -- committed tree without its parents
    CREATE TABLE trees (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        snapshotter TEXT NOT NULL,
        chain_id TEXT,
        diff_id TEXT,
        opaque INTEGER NOT NULL DEFAULT 0,
        size INTEGER,
        inodes INTEGER,
        UNIQUE (snapshotter, chain_id)
    ) STRICT;

    CREATE TABLE snapshots (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        namespace TEXT NOT NULL REFERENCES namespaces (name) ON DELETE RESTRICT,
        snapshotter TEXT NOT NULL,
        key TEXT NOT NULL,
        kind TEXT NOT NULL CHECK (kind IN ('active', 'view', 'committed')),
        parent INTEGER REFERENCES snapshots (id) ON DELETE RESTRICT,
        tree INTEGER NOT NULL REFERENCES trees (id) ON DELETE RESTRICT,
        labels TEXT NOT NULL DEFAULT '{}',
        created REAL NOT NULL,
        updated REAL NOT NULL,
        UNIQUE (namespace, snapshotter, key)
    ) STRICT;
    CREATE INDEX snapshots_by_parent ON snapshots (parent);
    CREATE INDEX snapshots_by_tree ON snapshots (tree);

    CREATE TABLE containers (
        namespace TEXT NOT NULL REFERENCES namespaces (name) ON DELETE RESTRICT,
        id TEXT NOT NULL,
        image TEXT NOT NULL DEFAULT '',
        runtime TEXT NOT NULL DEFAULT '{}',
        snapshotter TEXT NOT NULL DEFAULT '',
        snapshot_key TEXT NOT NULL DEFAULT '',
        labels TEXT NOT NULL DEFAULT '{}',
        extensions TEXT NOT NULL DEFAULT '{}',
        created REAL NOT NULL,
        updated REAL NOT NULL,
        spec TEXT NOT NULL, -- last: it is long, and lists do not read so far
        PRIMARY KEY (namespace, id)
    ) STRICT, WITHOUT ROWID;

    -- expires: NULL for never
    CREATE TABLE leases (
        namespace TEXT NOT NULL REFERENCES namespaces (name) ON DELETE RESTRICT,
        id TEXT NOT NULL,
        labels TEXT NOT NULL DEFAULT '{}',
        created REAL NOT NULL,
        expires REAL,
        PRIMARY KEY (namespace, id)
    ) STRICT, WITHOUT ROWID;

    -- type: content, ingests or snapshots/<snapshotter>, as containerd writes it
    CREATE TABLE lease_resources (
        namespace TEXT NOT NULL,
        lease TEXT NOT NULL,
        type TEXT NOT NULL,
        resource TEXT NOT NULL,
        PRIMARY KEY (namespace, lease, type, resource),
        FOREIGN KEY (namespace, lease) REFERENCES leases (namespace, id) ON DELETE CASCADE
    ) STRICT, WITHOUT ROWID;

    CREATE TABLE events (
        sequence INTEGER PRIMARY KEY AUTOINCREMENT,
        time_ns INTEGER NOT NULL,
        namespace TEXT NOT NULL,
        topic TEXT NOT NULL,
        subject TEXT NOT NULL,
        payload TEXT NOT NULL
    ) STRICT;
    """,
    """
    -- one row: what the files of the store are marked with (`identity`)
    CREATE TABLE identity (id TEXT NOT NULL) STRICT;
    INSERT INTO identity (id) VALUES (lower(hex(randomblob(16))));
    """,
)

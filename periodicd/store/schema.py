"""The tables of a SQLite store, and how an older file becomes a newer one.

One migration for each change of the schema, never edited after a release. sqlite-utils records in the file which ones
it has; a file with one that this program does not know was written by a newer one and is left alone.
"""

from sqlite_utils import Database, Migrations

APPLICATION_ID = 0x50657264
""""Perd": what ``PRAGMA application_id`` says of a file of ours."""

migrations = Migrations("periodicd")


@migrations()
def jobs(db: Database) -> None:
    """The column state is a number of periodicd.job.State: 0 waiting, 1 running, 2 dead, 3 behind."""
    for statement in (
        # workload comes late, so that what is before it is read without its pages. NULL: it is in workloads.
        """
        CREATE TABLE jobs (
            id INTEGER PRIMARY KEY,
            func TEXT NOT NULL,
            name TEXT NOT NULL,
            state INTEGER NOT NULL DEFAULT 0,
            priority INTEGER NOT NULL,
            due_ms INTEGER NOT NULL,
            submitted_ms INTEGER NOT NULL,
            lease_ms INTEGER NOT NULL,
            retry TEXT,
            attempt INTEGER NOT NULL DEFAULT 0,
            failures INTEGER NOT NULL DEFAULT 0,
            crashes INTEGER NOT NULL DEFAULT 0,
            suspect INTEGER NOT NULL DEFAULT 0,
            reason TEXT,
            ended_ms INTEGER,
            handle TEXT,
            lease_until_ms INTEGER,
            workload_bytes INTEGER NOT NULL,
            workload BLOB
        ) STRICT
        """,
        # One job of an identity, and one behind it. Each index holds only the rows that its question is about.
        "CREATE UNIQUE INDEX jobs_identity ON jobs (func, name) WHERE state <> 3",
        "CREATE UNIQUE INDEX jobs_behind ON jobs (func, name) WHERE state = 3",
        "CREATE INDEX jobs_waiting ON jobs (func, priority, due_ms, id) WHERE state = 0",
        "CREATE INDEX jobs_running ON jobs (id) WHERE state = 1",
        "CREATE INDEX jobs_dead ON jobs (ended_ms, id) WHERE state = 2",
        # Large workloads live apart: to change a job's state must not mean to write its picture again.
        "CREATE TABLE workloads (job_id INTEGER PRIMARY KEY, workload BLOB NOT NULL) STRICT",
        """
        CREATE TRIGGER jobs_deleted AFTER DELETE ON jobs WHEN old.workload IS NULL
        BEGIN
            DELETE FROM workloads WHERE job_id = old.id;
        END
        """,
        "CREATE TABLE daemon (boot INTEGER NOT NULL, next_id INTEGER NOT NULL) STRICT",
        "INSERT INTO daemon VALUES (0, 1)",
        f"PRAGMA application_id = {APPLICATION_ID}",
    ):
        db.execute(statement)


@migrations()
def settled_words(db: Database) -> None:
    """Points in time end in ``_at_ms``; headers, runs cut off by a restart, who waits for a date, and counts.

    The counts are those of all jobs only while ``daemon.counted`` is 1: after a stop in order, until the next start.

    The new columns stand behind the workload: to put them before it would mean to write every job anew.
    """
    for old, new in (
        ("due_ms", "due_at_ms"),
        ("submitted_ms", "submitted_at_ms"),
        ("ended_ms", "ended_at_ms"),
        ("lease_until_ms", "lease_until_at_ms"),
    ):
        db.execute(f"ALTER TABLE jobs RENAME COLUMN {old} TO {new}")
    db.execute("ALTER TABLE jobs ADD COLUMN headers TEXT")
    db.execute("ALTER TABLE jobs ADD COLUMN restarts INTEGER NOT NULL DEFAULT 0")
    db.execute("ALTER TABLE jobs ADD COLUMN dated INTEGER NOT NULL DEFAULT 0")
    db.execute("ALTER TABLE daemon ADD COLUMN counted INTEGER NOT NULL DEFAULT 0")
    db.execute(
        """
        CREATE TABLE counts (
            func TEXT PRIMARY KEY, live INTEGER NOT NULL, behind INTEGER NOT NULL, dead INTEGER NOT NULL
        ) STRICT, WITHOUT ROWID
        """
    )
    # Or for the end of a delay: which of the two was not written down.
    db.execute("UPDATE jobs SET dated = 1 WHERE attempt = 0 AND due_at_ms > submitted_at_ms")


@migrations()
def dead_by_id(db: Database) -> None:
    """For pages of dead jobs, which may be few among millions."""
    db.execute("CREATE INDEX jobs_dead_by_id ON jobs (id) WHERE state = 2")


@migrations()
def whole_life(db: Database) -> None:
    """How jobs ended is kept if their submit says so; how long a run may take, what went wrong, who asked to end it."""
    db.execute("ALTER TABLE jobs ADD COLUMN result_ms INTEGER NOT NULL DEFAULT 0")
    db.execute("ALTER TABLE jobs ADD COLUMN run_max_ms INTEGER")
    db.execute("ALTER TABLE jobs ADD COLUMN errors TEXT")
    db.execute("ALTER TABLE jobs ADD COLUMN started_at_ms INTEGER")
    db.execute("ALTER TABLE jobs ADD COLUMN taken_ms INTEGER NOT NULL DEFAULT 0")
    db.execute("ALTER TABLE jobs ADD COLUMN cancelled TEXT")
    db.execute(
        """
        CREATE TABLE endings (
            id INTEGER PRIMARY KEY,
            func TEXT NOT NULL,
            name TEXT NOT NULL,
            ending TEXT NOT NULL,
            ended_at_ms INTEGER NOT NULL,
            until_at_ms INTEGER NOT NULL,
            attempt INTEGER NOT NULL,
            reason TEXT,
            data_bytes INTEGER NOT NULL,
            data BLOB
        ) STRICT
        """
    )
    db.execute("CREATE INDEX endings_identity ON endings (func, name, id)")
    db.execute("CREATE INDEX endings_until ON endings (until_at_ms, id, data_bytes)")


@migrations()
def functions(db: Database) -> None:
    """What is set of functions."""
    db.execute(
        """
        CREATE TABLE functions (
            func TEXT PRIMARY KEY,
            paused INTEGER NOT NULL,
            running_max INTEGER,
            rate_count INTEGER,
            rate_per_ms INTEGER,
            queue_max INTEGER,
            lease_ms INTEGER,
            retry TEXT,
            result_ms INTEGER,
            full_at_ns INTEGER NOT NULL
        ) STRICT, WITHOUT ROWID
        """
    )


@migrations()
def locks(db: Database) -> None:
    """What jobs take while they run, who stands in line for it, and what is set of locks.

    Whoever is parked has a row in the lines for each of its locks.
    """
    db.execute("ALTER TABLE jobs ADD COLUMN locks TEXT")
    db.execute("ALTER TABLE counts ADD COLUMN parked INTEGER NOT NULL DEFAULT 0")
    db.execute(
        """
        CREATE TABLE locks (
            name TEXT PRIMARY KEY,
            capacity INTEGER NOT NULL,
            rate_count INTEGER,
            rate_per_ms INTEGER,
            full_at_ns INTEGER NOT NULL
        ) STRICT, WITHOUT ROWID
        """
    )
    db.execute(
        """
        CREATE TABLE lines (
            lock TEXT NOT NULL,
            func TEXT NOT NULL,
            priority INTEGER NOT NULL,
            due_at_ms INTEGER NOT NULL,
            job_id INTEGER NOT NULL,
            weight INTEGER NOT NULL,
            PRIMARY KEY (lock, func, priority, due_at_ms, job_id)
        ) STRICT, WITHOUT ROWID
        """
    )
    db.execute("CREATE INDEX lines_job ON lines (job_id)")


@migrations()
def groups(db: Database) -> None:
    """Groups that are open: how many of their members have not ended, and how the others did.

    A group has the id of its job.
    """
    db.execute("ALTER TABLE jobs ADD COLUMN group_id INTEGER")
    db.execute("CREATE INDEX jobs_members ON jobs (group_id, id) WHERE group_id IS NOT NULL")
    db.execute(
        """
        CREATE TABLE groups (
            id INTEGER PRIMARY KEY,
            sealed INTEGER NOT NULL,
            members INTEGER NOT NULL DEFAULT 0,
            open INTEGER NOT NULL DEFAULT 0,
            done INTEGER NOT NULL DEFAULT 0,
            dead INTEGER NOT NULL DEFAULT 0,
            removed INTEGER NOT NULL DEFAULT 0,
            cancelled INTEGER NOT NULL DEFAULT 0,
            expired INTEGER NOT NULL DEFAULT 0
        ) STRICT
        """
    )


@migrations()
def schedules(db: Database) -> None:
    """When what is to be submitted. The job is MessagePack, as its client sent it."""
    db.execute(
        """
        CREATE TABLE schedules (
            name TEXT PRIMARY KEY,
            every_ms INTEGER,
            cron TEXT,
            zone TEXT NOT NULL,
            from_at_ms INTEGER NOT NULL,
            until_at_ms INTEGER,
            job BLOB NOT NULL,
            jitter_ms INTEGER NOT NULL,
            missed TEXT NOT NULL,
            overlap TEXT NOT NULL,
            paused INTEGER NOT NULL,
            fired_at_ms INTEGER NOT NULL,
            last_id INTEGER NOT NULL
        ) STRICT, WITHOUT ROWID
        """
    )


@migrations()
def expiry(db: Database) -> None:
    """Jobs end that have not begun by a time; the index has only those that can."""
    db.execute("ALTER TABLE jobs ADD COLUMN expires_at_ms INTEGER")
    db.execute(
        """
        CREATE INDEX jobs_expiring ON jobs (expires_at_ms, id)
        WHERE expires_at_ms IS NOT NULL AND attempt = 0 AND state <> 2
        """
    )


@migrations()
def broadcasts(db: Database) -> None:
    """Jobs that run on every connection of their function; the index has only those that wait."""
    db.execute("ALTER TABLE jobs ADD COLUMN broadcast TEXT")
    db.execute(
        """
        CREATE INDEX jobs_broadcast ON jobs (due_at_ms, id)
        WHERE broadcast IS NOT NULL AND state = 0
        """
    )


def pending(db: Database) -> list[str]:
    """The migrations that a file does not have yet."""
    return [migration.name for migration in migrations.pending(db)]


_KNOWN = frozenset(pending(Database(memory=True)))


def newer_than_this(db: Database) -> list[str]:
    """The migrations that a file has and this program does not know: a newer one wrote it."""
    return [migration.name for migration in migrations.applied(db) if migration.name not in _KNOWN]

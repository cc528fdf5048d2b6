-- All statements of the SQLite store: a name, and in a sentence what it is for. States are those of periodicd.job.State:
-- 0 waiting, 1 running, 2 dead, 3 behind, 4 parked. {columns} are the fields of periodicd.job.Job, in their order; {new_columns}
-- those that a submit decides, {plain_columns} without those that few submits say.

-- insert: A new job, unless there is one of its identity.
INSERT INTO jobs ({new_columns})
VALUES ({new_values})
ON CONFLICT DO NOTHING;

-- insert_plain: The same of a job that has nothing that few have.
INSERT INTO jobs ({plain_columns})
VALUES ({plain_values})
ON CONFLICT DO NOTHING;

-- insert_workload: The workload of a job, where it is large.
INSERT INTO workloads VALUES (?, ?);

-- delete: A record goes, with what is apart of it.
DELETE FROM jobs
WHERE id = ?;

-- delete_run: The job is done, if its run has this handle; NULL stands for any.
DELETE FROM jobs
WHERE id = ? AND handle IS coalesce(?, handle);

-- delete_runs: The same of many runs that were never claimed.
DELETE FROM jobs
WHERE id IN ({ids});

-- delete_claimed_runs: The same of many that were.
DELETE FROM jobs
WHERE id IN ({ids}) AND handle IN ({handles});

-- promote: The job behind an ended run waits from now on, due at the time :at or later; parked if its group is open.
UPDATE jobs
SET state = CASE WHEN EXISTS (SELECT 1 FROM groups WHERE id = :id) THEN 4 ELSE 0 END, due_at_ms = max(due_at_ms, :at), dated = dated AND due_at_ms > :at
WHERE id = :id;

-- shift: The clock was stepped back: what waits, is behind or parked, and has no date, is due so much earlier.
UPDATE jobs
SET due_at_ms = max(0, due_at_ms - ?)
WHERE state IN (0, 3, 4) AND NOT dated;

-- front: The job of this identity that is not behind another.
SELECT id, state, workload_bytes, result_ms
FROM jobs
WHERE func = ? AND name = ? AND state <> 3;

-- claim: A waiting job runs.
UPDATE jobs
SET state = 1, handle = ?, attempt = ?, lease_until_at_ms = ?, started_at_ms = ?, taken_ms = ?
WHERE id = ? AND state = 0;

-- extend: The lease of a running job ends at another time.
UPDATE jobs
SET lease_until_at_ms = ?
WHERE id = ? AND state = 1;

-- release: A run ended, if it has this handle, and its job waits again.
UPDATE jobs
SET locks = CASE WHEN ? THEN ? ELSE locks END, state = 0, lease_until_at_ms = NULL, dated = 0, due_at_ms = ?, handle = ?, attempt = ?, failures = ?, crashes = ?,
restarts = ?, suspect = ?, reason = ?, errors = ?, started_at_ms = ?
WHERE id = ? AND handle IS coalesce(?, handle);

-- bury: A run ended, if it has this handle, and its job is dead.
UPDATE jobs
SET state = 2, lease_until_at_ms = NULL, ended_at_ms = ?, handle = ?, attempt = ?, failures = ?, crashes = ?,
restarts = ?, suspect = ?, reason = ?, errors = ?, started_at_ms = ?
WHERE id = ? AND handle IS coalesce(?, handle);

-- cancel: A running job is to end with its run.
UPDATE jobs
SET cancelled = ?
WHERE id = ?;

-- move: A waiting job, or one behind, is due at another time, or of another priority.
UPDATE jobs
SET due_at_ms = coalesce(:due, due_at_ms), dated = CASE WHEN :due IS NULL THEN dated ELSE :dated END,
priority = coalesce(:priority, priority), state = CASE WHEN state = 4 AND NOT :stays THEN 0 ELSE state END
WHERE id = :id;

-- requeue: A dead job waits again, under a new id and with nothing counted.
UPDATE jobs
SET id = ?, state = 0, due_at_ms = ?, attempt = 0, failures = 0, crashes = 0, restarts = 0, suspect = 0, dated = 0,
reason = NULL, errors = NULL, ended_at_ms = NULL, handle = NULL, cancelled = NULL,
started_at_ms = NULL, taken_ms = 0, group_id = NULL, expires_at_ms = NULL
WHERE id = ?;

-- handle: Of the latest run of a job.
SELECT handle
FROM jobs
WHERE id = ?;

-- func_and_state: Of a job.
SELECT func, state
FROM jobs
WHERE id = ?;

-- by_id: One job.
SELECT {columns}
FROM jobs
WHERE id = ?;

-- by_id_without_workload: One job as it is shown.
SELECT {columns_without_workload}
FROM jobs
WHERE id = ?;

-- all_without_workload: Every job, as it is shown.
SELECT {columns_without_workload}
FROM jobs;

-- running: What ran when the daemon stopped, oldest first.
SELECT {columns_without_workload}
FROM jobs
WHERE state = 1
ORDER BY id;

-- next_priority: The next priority, after this one, at which jobs of a function wait.
SELECT min(priority)
FROM jobs
WHERE func = ? AND state = 0 AND priority > ?;

-- first_due: When the first job of a lane is due.
SELECT due_at_ms
FROM jobs
WHERE func = ? AND state = 0 AND priority = ?
ORDER BY due_at_ms
LIMIT 1;

-- page: The next jobs of a lane, in order. Broadcasts stand in none.
SELECT {columns}
FROM jobs
WHERE func = ? AND state = 0 AND priority = ? AND (due_at_ms, id) > (?, ?) AND broadcast IS NULL
ORDER BY due_at_ms, id LIMIT ?;

-- listed: Of the rows of {found}, in {order}, the first that a page shows: JSON, since each row of an answer would have
-- to wait for the interpreter. Ends with whether another job waits behind it.
SELECT group_concat(row)
FROM (SELECT json_array({columns_without_workload}, state = 1 AND EXISTS (SELECT 1
FROM jobs AS behind
WHERE behind.state = 3 AND behind.func = jobs.func AND behind.name = jobs.name)) AS row
FROM {found}
ORDER BY {order} LIMIT :limit);

-- listed_count: How many there are.
SELECT count(*)
FROM {found};

-- found_by_id: The jobs of a chunk that the query is about. {jobs} is all of them, or an index that holds those in
-- question.
{jobs} AND id > :after_id AND id <= :last_id AND {query};

-- found_by_name: The same of one function and prefix.
({places}) CROSS JOIN jobs ON jobs.id = place_id
WHERE {query};

-- query: What is asked of a job; NULL asks nothing.
(:func IS NULL OR func = :func) AND (:state IS NULL OR state = :state)
AND (:prefix IS NULL OR name BETWEEN :prefix AND :prefix_end)
AND (:due_from_at_ms IS NULL OR due_at_ms >= :due_from_at_ms)
AND (:due_before_at_ms IS NULL OR due_at_ms < :due_before_at_ms)
AND (:reason IS NULL OR instr(reason, :reason)) AND (:group_id IS NULL OR group_id = :group_id) AND id < :before_id;

-- places: Names of one function, in order: those of jobs, and of jobs behind others. It takes both indexes.
SELECT name AS place_name, id AS place_id
FROM jobs INDEXED BY jobs_identity
WHERE func = :func AND state <> 3 AND :state IS NOT 3 AND name BETWEEN :after_name AND :last_name
AND (name > :after_name OR id > :after_id) AND (name < :last_name OR id <= :last_id)
UNION ALL SELECT name, id
FROM jobs INDEXED BY jobs_behind
WHERE func = :func AND state = 3 AND ifnull(:state, 3) = 3 AND name BETWEEN :after_name AND :last_name
AND (name > :after_name OR id > :after_id) AND (name < :last_name OR id <= :last_id)
ORDER BY place_name, place_id;

-- chunk_end_by_id: How far the next so many jobs go, if there are more.
SELECT id, NULL
FROM {jobs} AND id > :after_id AND id < :before_id
ORDER BY id LIMIT 1 OFFSET :chunk - 1;

-- chunk_end_by_name: The same.
SELECT place_id, place_name
FROM ({places} LIMIT 1 OFFSET :chunk - 1);

-- first_surplus: The youngest of the dead that are too many.
SELECT ended_at_ms, id
FROM jobs
WHERE state = 2
ORDER BY ended_at_ms DESC, id DESC LIMIT 1 OFFSET ?;

-- dead_up_to: The oldest dead, up to this one.
SELECT id, func
FROM jobs
WHERE state = 2 AND (ended_at_ms, id) <= (?, ?)
ORDER BY ended_at_ms, id LIMIT ?;

-- behind_pairs: Who waits behind whom.
SELECT front.id, behind.id
FROM jobs AS behind JOIN jobs AS front ON front.func = behind.func AND front.name = behind.name AND front.state <> 3
WHERE behind.state = 3;

-- count: How many jobs each function has, counted anew: live, of these behind, dead, parked.
SELECT func, sum(live), sum(behind), sum(dead), sum(parked)
FROM (
    SELECT func, count(*) AS live, 0 AS behind, 0 AS dead, 0 AS parked FROM jobs WHERE state = 0 GROUP BY func
    UNION ALL SELECT func, count(*), 0, 0, 0 FROM jobs WHERE state = 1 GROUP BY func
    UNION ALL SELECT func, count(*), count(*), 0, 0 FROM jobs WHERE state = 3 GROUP BY func
    UNION ALL SELECT func, 0, 0, count(*), 0 FROM jobs WHERE state = 2 GROUP BY func
    UNION ALL SELECT func, count(DISTINCT job_id), 0, 0, count(DISTINCT job_id) FROM lines GROUP BY func
    UNION ALL SELECT func, count(*), 0, 0, count(*) FROM groups JOIN jobs ON jobs.id = groups.id WHERE state = 4 GROUP BY func
)
GROUP BY func;

-- kept_counts: The same, as it was written at the last stop.
SELECT func, live, behind, dead, parked FROM counts;

-- is_counted: Whether that is true: the last stop was in order, and nothing was started since.
SELECT counted FROM daemon;

-- look: Reads from an index that a start would not touch otherwise, so that a damaged one is met there.
SELECT EXISTS (SELECT 1 FROM jobs INDEXED BY jobs_waiting WHERE state = 0),
    EXISTS (SELECT 1 FROM jobs INDEXED BY jobs_dead WHERE state = 2),
    EXISTS (SELECT 1 FROM jobs INDEXED BY jobs_dead_by_id WHERE state = 2);

-- forget_counts: Those of the stop before.
DELETE FROM counts;

-- keep_count: Of one function, at a stop.
INSERT INTO counts VALUES (?, ?, ?, ?, ?);

-- counted: They are those of all jobs.
UPDATE daemon SET counted = 1;

-- move_workload: The workload of a requeued job is that of its new id.
UPDATE workloads SET job_id = ? WHERE job_id = ?;

-- workload: The workload of a job, where it is large.
SELECT workload FROM workloads WHERE job_id = ?;

-- boot: The daemon starts once more.
UPDATE daemon SET boot = boot + 1, counted = 0;

-- daemon: How often it started, and which numbers are free.
SELECT boot, next_id FROM daemon;

-- reserve: Numbers below this one may be in use.
UPDATE daemon SET next_id = ?;

-- endings_size: How many endings are remembered, and how many bytes of data.
SELECT count(*), coalesce(sum(data_bytes), 0) FROM endings INDEXED BY endings_until;

-- keep_ending: How a job ended, for a while.
INSERT OR REPLACE INTO endings VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?);

-- keep_ending_of: The same of a job that is not dead, if its submit asked for it; it has no data.
INSERT INTO endings
SELECT id, func, name, :ending, :at, :at + result_ms, attempt, coalesce(:reason, reason), 0, NULL
FROM jobs
WHERE id = :id AND result_ms > 0 AND state <> 2;

-- last_ending: Of what is remembered of a name, the newest, or that of one job.
SELECT id, ending, ended_at_ms, attempt, reason, CASE WHEN :data THEN data END, data_bytes
FROM endings
WHERE func = :func AND name = :name AND until_at_ms > :at AND (:id IS NULL OR id = :id)
ORDER BY id DESC LIMIT 1;

-- ending: Of one job, with its data.
SELECT id, ending, ended_at_ms, attempt, reason, data, data_bytes
FROM endings
WHERE id = ?;

-- first_ending: The one whose time is over first.
SELECT id, until_at_ms
FROM endings
ORDER BY until_at_ms, id LIMIT 1;

-- forget_ending: One of them.
DELETE FROM endings WHERE id = ? RETURNING data_bytes;

-- functions: What is set of functions.
SELECT * FROM functions;

-- set_function: Of one, all of it.
INSERT OR REPLACE INTO functions VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?);

-- forget_function: Nothing is set of it any more.
DELETE FROM functions WHERE func = ?;

-- park: A waiting job stands in line.
UPDATE jobs SET state = 4 WHERE id = ? AND state = 0;

-- stand: In the line for one of its locks.
INSERT INTO lines VALUES (?, ?, ?, ?, ?, ?);

-- unpark: It waits again.
UPDATE jobs SET state = 0, due_at_ms = min(due_at_ms, ?) WHERE id = ? AND state = 4;

-- leave_lines: A job that is parked no more.
DELETE FROM lines WHERE job_id = ?;

-- head: Who is first in line for a lock, of the next function there. Who wants more of any than there is is passed over.
SELECT lines.priority, lines.due_at_ms, job_id, lines.func, jobs.locks
FROM lines JOIN jobs ON jobs.id = job_id
WHERE lock = :lock AND lines.func > :after AND NOT EXISTS (
    SELECT 1
    FROM lines AS every LEFT JOIN locks ON locks.name = every.lock
    WHERE every.job_id = lines.job_id AND every.weight > ifnull(locks.capacity, 1)
)
ORDER BY lines.func, lines.priority, lines.due_at_ms, job_id LIMIT 1;

-- stands: For which locks a job stands in line.
SELECT lock FROM lines WHERE job_id = ?;

-- shift_lines: The clock was stepped back: who stands in line and has no date is due so much earlier.
UPDATE lines
SET due_at_ms = max(0, due_at_ms - ?)
WHERE job_id IN (SELECT id FROM jobs WHERE id = job_id AND NOT dated);

-- line_length: How many stand there, up to a number.
SELECT count(*) FROM (SELECT 1 FROM lines WHERE lock = ? LIMIT ?);

-- lines: The locks for which somebody stands in line.
SELECT DISTINCT lock FROM lines;

-- locks: What is set of locks.
SELECT * FROM locks;

-- set_lock: Of one, all of it.
INSERT OR REPLACE INTO locks VALUES (?, ?, ?, ?, ?);

-- forget_lock: Nothing is set of it any more.
DELETE FROM locks WHERE name = ?;

-- groups: How many are open.
SELECT count(*) FROM groups;

-- open_group: A job that was put is a group from now on, which waits for its members.
INSERT INTO groups (id, sealed) VALUES (?, 0);

-- park_group: Its job does not wait.
UPDATE jobs SET state = 4 WHERE id = ? AND state = 0;

-- group_of_name: The open group whose job has this identity, in front or behind.
SELECT groups.id, sealed
FROM jobs JOIN groups ON groups.id = jobs.id
WHERE func = ? AND name = ? AND state IN (3, 4);

-- join_group: A job is a member of it, if it is open.
UPDATE groups SET members = members + 1, open = open + 1 WHERE id = ?;

-- seal_group: No more are to come, but for follow-ons.
UPDATE groups SET sealed = max(sealed, ?) WHERE id = ? RETURNING sealed, open;

-- unseal_group: More are to come after all.
UPDATE groups SET sealed = 0 WHERE id = ?;

-- member_ended: One of a group did, and how.
UPDATE groups SET open = open - 1, {ending} = {ending} + 1 WHERE id = ? RETURNING sealed, open;

-- group_of_member: Of a job that has not ended before.
SELECT group_id FROM jobs WHERE id = ? AND state <> 2;

-- group: How far it is.
SELECT sealed, members, open, done, dead, removed, cancelled, expired FROM groups WHERE id = ?;

-- group_s_job: The job that goes free.
SELECT func, state, headers FROM jobs WHERE id = ?;

-- free_group: It waits, due at the time :at or later; one that is behind stays so.
UPDATE jobs
SET headers = :headers, state = CASE state WHEN 4 THEN 0 ELSE state END, dated = dated AND due_at_ms > :at, due_at_ms = max(due_at_ms, :at)
WHERE id = :id;

-- close_group: It has finished, or its job is gone.
DELETE FROM groups WHERE id = ?;

-- schedules: All of them.
SELECT * FROM schedules;

-- set_schedule: One, all of it.
INSERT OR REPLACE INTO schedules VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?);

-- forget_schedule: It is gone.
DELETE FROM schedules WHERE name = ?;

-- is_live: Whether there is such a job, and it is not dead.
SELECT 1 FROM jobs WHERE id = ? AND state <> 2;

-- expired: Jobs that have not begun by their time, the longest over first.
SELECT id, func, name, state
FROM jobs INDEXED BY jobs_expiring
WHERE expires_at_ms <= ? AND attempt = 0 AND state <> 2
ORDER BY expires_at_ms, id LIMIT ?;

-- first_expiry: When the next one is.
SELECT min(expires_at_ms)
FROM jobs INDEXED BY jobs_expiring
WHERE expires_at_ms IS NOT NULL AND attempt = 0 AND state <> 2;

-- expire: It is dead.
UPDATE jobs SET state = 2, ended_at_ms = ?, reason = ? WHERE id = ?;

-- tally: One run of a broadcast has ended, if that goes on under this handle.
UPDATE jobs SET broadcast = ? WHERE id = ? AND state = 1 AND handle IS coalesce(?, handle);

-- broadcasts: Those that wait and may begin, the first due first, up to one more than are wanted.
SELECT id, due_at_ms
FROM jobs INDEXED BY jobs_broadcast
WHERE broadcast IS NOT NULL AND state = 0 AND (expires_at_ms IS NULL OR expires_at_ms > ? OR attempt > 0)
AND NOT EXISTS (SELECT 1 FROM functions WHERE functions.func = jobs.func AND paused)
ORDER BY due_at_ms, id LIMIT ?;

-- first_broadcast: When the first one that waits is due.
SELECT min(due_at_ms)
FROM jobs INDEXED BY jobs_broadcast
WHERE broadcast IS NOT NULL AND state = 0;

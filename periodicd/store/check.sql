-- What must hold between the rows of a store: each rule says what is wrong, and after the arrow what repair does about
-- it; it finds the ids in question, and mends what the table found has of them. In this order: one may bring up the next.

-- numbers are not above those of all jobs => they go on above them
SELECT id FROM jobs WHERE id >= (SELECT next_id FROM daemon);
UPDATE daemon SET next_id = max(next_id, 1 + (SELECT max(id) FROM found));

-- workloads of jobs that are not there => they are removed
SELECT job_id FROM workloads WHERE job_id NOT IN (SELECT id FROM jobs);
DELETE FROM workloads WHERE job_id IN (SELECT id FROM found);

-- jobs whose workload is gone => they are dead, with an empty one and that reason; what was behind another is removed
SELECT id FROM jobs WHERE workload IS NULL AND id NOT IN (SELECT job_id FROM workloads);
DELETE FROM jobs WHERE id IN (SELECT id FROM found) AND state = 3;
UPDATE jobs
SET workload = X'', workload_bytes = 0, state = 2, ended_at_ms = :now, handle = NULL, reason = 'its workload is not in the store any more'
WHERE id IN (SELECT id FROM found);

-- jobs that do not run, with one behind them => that one takes their place
SELECT id FROM jobs
WHERE state NOT IN (1, 3) AND EXISTS (SELECT 1 FROM jobs AS behind
WHERE behind.func = jobs.func AND behind.name = jobs.name AND behind.state = 3);
DELETE FROM jobs WHERE id IN (SELECT id FROM found);

-- jobs behind one that is not there => they wait by themselves
SELECT id FROM jobs
WHERE state = 3 AND NOT EXISTS (SELECT 1 FROM jobs AS front
WHERE front.func = jobs.func AND front.name = jobs.name AND front.state <> 3);
UPDATE jobs SET state = CASE WHEN id IN (SELECT id FROM groups) THEN 4 ELSE 0 END WHERE id IN (SELECT id FROM found);

-- jobs that run, and no run of them is known => they wait again
SELECT id FROM jobs WHERE state = 1 AND handle IS NULL;
UPDATE jobs SET state = 0, lease_until_at_ms = NULL WHERE id IN (SELECT id FROM found);

-- parked jobs that do not stand in line for each of their locks => they wait, and stand in line anew
SELECT id FROM (
    SELECT id, (SELECT count(*) FROM lines WHERE job_id = id) AS places, (SELECT count(*) FROM json_each(locks)) AS locks
    FROM jobs
    WHERE state = 4 AND id NOT IN (SELECT id FROM groups)
)
WHERE places = 0 OR places <> locks;
UPDATE jobs SET state = 0 WHERE id IN (SELECT id FROM found);

-- jobs that stand in line and are not parked => they do no more
SELECT DISTINCT job_id FROM lines WHERE job_id NOT IN (SELECT id FROM jobs WHERE state = 4);
DELETE FROM lines WHERE job_id IN (SELECT id FROM found);

-- groups whose job does not wait for them => they are closed, and their members go on
SELECT id FROM groups WHERE id NOT IN (SELECT id FROM jobs WHERE state IN (3, 4));
DELETE FROM groups WHERE id IN (SELECT id FROM found);

-- groups that count others than their members => they count anew; who is missing counts as removed
SELECT id FROM groups WHERE open <> (SELECT count(*) FROM jobs WHERE group_id = groups.id AND state <> 2);
UPDATE groups
SET open = (SELECT count(*) FROM jobs WHERE group_id = groups.id AND state <> 2)
WHERE id IN (SELECT id FROM found);
UPDATE groups
SET removed = max(0, members - open - done - dead - cancelled - expired)
WHERE id IN (SELECT id FROM found);

-- groups that have finished, for which their job still waits => it is told how they did, and waits no more
SELECT id FROM groups WHERE sealed AND open <= 0;
UPDATE jobs
SET state = CASE state WHEN 4 THEN 0 ELSE state END, headers = json_patch(coalesce(headers, '{}'), (
    SELECT json_object(
        'group-members', CAST(members AS TEXT), 'group-done', CAST(done AS TEXT), 'group-dead', CAST(dead AS TEXT),
        'group-removed', CAST(removed AS TEXT), 'group-cancelled', CAST(cancelled AS TEXT),
        'group-expired', CAST(expired AS TEXT)
    )
    FROM groups WHERE groups.id = jobs.id
))
WHERE id IN (SELECT id FROM found);
DELETE FROM groups WHERE id IN (SELECT id FROM found);

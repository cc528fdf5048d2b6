// Checks vectors, client and workers against a daemon that it starts itself: node check.mjs PYTHON, whose periodicd is
// started. Prints PASS, or what failed.
import net from 'node:net'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { encode, decode } from './msgpack.mjs'
import { Client, Connection, PeriodicError } from './client.mjs'
import { Worker } from './worker.mjs'

const here = path.dirname(fileURLToPath(import.meta.url)), interpreter = process.argv[2]
const sleep = ms => new Promise(r => setTimeout(r, ms))
const failures = []
const expect = (ok, text) => { if (!ok) { failures.push(text); console.log('FAILED', text) } }
const began = Date.now()
const say = (...a) => console.log(`${((Date.now() - began) / 1000).toFixed(1)} s`, ...a)
const children = new Set()
const endAll = () => { for (const c of children) try { process.kill(-c.pid, 'SIGKILL') } catch { } }
process.on('exit', endAll)
setTimeout(() => { console.log('FAILED: took 150 s'); process.exit(1) }, 150000).unref()
process.on('unhandledRejection', e => { console.log('FAILED: unhandled', e); process.exit(1) })

const start = (command, args) => {
  const child = spawn(command, args, { detached: true, stdio: ['ignore', 'pipe', 'pipe'] })
  children.add(child)
  child.output = ''
  for (const s of [child.stdout, child.stderr]) s.on('data', d => { child.output += d })
  child.ended = new Promise(r => child.once('exit', (code, signal) => { children.delete(child); r(code ?? signal) }))
  return child
}
const freePort = () => new Promise(r => { const s = net.createServer().listen(0, '127.0.0.1', () => { const { port } = s.address(); s.close(() => r(port)) }) })
const port = await freePort(), folder = fs.mkdtempSync(path.join(os.tmpdir(), 'stranger-')), url = `tcp://127.0.0.1:${port}`
let daemon, daemonLog = ''
const startDaemon = async () => {
  daemon = start(interpreter, ['-m', 'periodicd', '--listen', `tcp://127.0.0.1:${port}`, '--store', path.join(folder, 'periodic.db')])
  for (let i = 0; i < 300; i++) { try { (await Connection.open(url)).close(); return } catch { await sleep(20) } }
  throw new Error('the daemon does not start: ' + daemon.output)
}
const stopDaemon = async signal => { process.kill(daemon.pid, signal); const code = await daemon.ended; daemonLog += daemon.output; return code }

// A proxy whose connections can be cut or frozen.
const links = new Set()
const proxy = net.createServer(a => {
  const b = net.connect(port, '127.0.0.1'), link = { a, b, cut() { a.destroy(); b.destroy() }, freeze() { a.unpipe(b); b.unpipe(a); setTimeout(() => link.cut(), 2000) } }
  links.add(link)
  a.pipe(b); b.pipe(a)
  for (const s of [a, b]) { s.on('error', () => { }); s.on('close', () => { links.delete(link); link.cut() }) }
})
await new Promise(r => proxy.listen(0, '127.0.0.1', r))
const proxied = `tcp://127.0.0.1:${proxy.address().port}`

// --- 1. the vectors
{
  const plain = v => Array.isArray(v) ? v.map(plain) : v === null || typeof v !== 'object' ? v
    : Object.keys(v).length === 1 && 'bytes' in v ? Buffer.from(v.bytes, 'hex') : Object.fromEntries(Object.entries(v).map(([k, x]) => [k, plain(x)]))
  let n = 0
  for (const { section, value, hex } of JSON.parse(fs.readFileSync(path.join(here, '../../vectors/protocol.json')))) {
    if (hex === 'c1') { assert.throws(() => decode(Buffer.from(hex, 'hex'))); continue }
    const bytes = Buffer.from(hex, 'hex')
    try {
      assert.deepEqual(decode(bytes), [plain(value), bytes.length])
      assert.equal(encode(plain(value)).toString('hex'), hex)
      for (let cut = 0; cut < bytes.length; cut += 7) assert.throws(() => decode(bytes.subarray(0, cut)), { message: 'incomplete' })
    } catch (e) { expect(false, `vector in ${section}: ${e.message}`) }
    n++
  }
  for (const i of [0, 127, 128, 255, 256, 65535, 65536, 2 ** 32 - 1, 2 ** 32, 2 ** 53 - 1]) for (const v of [i, -i]) assert.equal(decode(encode(v))[0], v || 0)
  say(`${n} vectors`)
}
await startDaemon()

// --- 2. the client
{
  const c = await Client.connect(url, { client: 'check' })
  assert.equal(c.server.protocol, 1)
  assert.deepEqual(await c.ping(), {})
  const job = { func: 'c', name: 'a', workload: Buffer.from([0, 255]), headers: { h: 'é' }, due_at_ms: Date.now() + 3600000, priority: 3, lease_ms: 2000,
    retry: { limit: 2, backoff: 'fixed', delay_ms: 5, cap_ms: 10, jitter_percent: 1 }, existing: 'refuse' }
  const { result, id } = await c.submit(job)
  assert.equal(result, 'created')
  assert.deepEqual(await c.submit(job), { result: 'refused', id })
  assert.deepEqual(await c.submit({ ...job, existing: 'keep' }), { result: 'kept', id })
  const { job: got } = await c.get('c', 'a', { workload: true, id })
  for (const k of ['workload', 'headers', 'due_at_ms', 'priority', 'lease_ms', 'retry']) assert.deepEqual(got[k], job[k], k)
  assert.equal((await c.submit({ ...job, existing: 'replace' })).result, 'replaced')
  assert.equal((await c.remove('c', 'a', { id })).result, 'changed')
  const e = await c.submitBatch([job, { func: 'c', name: 'b', retry: { limit: 5000 } }]).catch(e => e)
  assert.ok(e instanceof PeriodicError)
  assert.deepEqual([e.symbol, e.details.path], ['INVALID', 'jobs[1].retry.limit'])
  const batch = await c.submitBatch(Array.from({ length: 25 }, (_, i) => ({ func: 'c' + i % 5, name: 'n' + i, delay_ms: 3600000 })))
  assert.equal(batch.ids.length, 25)
  const listed = []
  for await (const j of c.list({ limit: 4, state: 'waiting' })) listed.push(j.id)
  assert.equal(listed.length, 26)
  assert.deepEqual(listed, [...listed].sort((a, b) => a - b))
  const functions = []
  for await (const f of c.functions({ prefix: 'c', limit: 2 })) functions.push(f.func)
  assert.deepEqual(functions, ['c', 'c0', 'c1', 'c2', 'c3', 'c4'])
  for await (const j of c.list()) assert.equal((await c.remove(j.func, j.name)).result, 'removed')
  assert.equal((await c.requeue('c', 'a')).result, 'absent')
  const big = Buffer.alloc(16777216, 7)
  await c.submit({ func: 'big', name: 'x', workload: big, delay_ms: 3600000 })
  assert.ok((await c.get('big', 'x', { workload: true })).job.workload.equals(big))
  await c.remove('big', 'x')
  const bad = await Connection.open(url), why = new Promise(r => bad.once('close', r))
  bad.socket.write(Buffer.from([0xc1]))
  assert.equal((await why).symbol, 'BAD_MESSAGE')
  c.close()
  say('client')
}

// --- 3. the workers that survive
const runs = [], acknowledged = new Map(), lost = [], refused = []
const work = async (job, signal) => {
  const todo = JSON.parse(job.workload)
  runs.push({ name: job.name, run: job.run, attempt: job.attempt, after: acknowledged.has(job.name) })
  if (Date.now() < job.due_at_ms - 50) expect(false, `${job.name} came early`)
  await sleep(todo.ms)
  if (signal.aborted && todo.gone) throw new Error('was told to stop')
  if (todo.final) throw Object.assign(new Error('in vain'), { final: true })
  if (todo.fails > job.failures) throw new Error('try again')
  if (todo.later && job.attempt === 1) return { outcome: 'later', delay_ms: 200 }
  if (todo.follow) return { outcome: 'done', submit: [{ func: 'w', name: job.name + '+', workload: '{"ms":5}' }] }
  return [undefined, 'text', Buffer.from('bytes')][job.run % 3]
}
const workers = [1, 2, 3].map(n => {
  const w = new Worker(n === 3 ? url : proxied, { w: { limit: 12, run: work } }, { slots: 8, client: 'check' + n, pingEveryMs: 300, pingTimeoutMs: 1500 })
  w.on('acknowledged', (job, outcome) => { if (outcome.outcome === 'done' || outcome.final) acknowledged.set(job.name, outcome) })
  w.on('refused', (handle, text) => refused.push(text))
  w.on('lost', job => job && lost.push(job.name))
  return w.start()
})
const twice = new Set(), accepted = new Map(), removed = new Set()
let client, resubmitted = 0, chaos = true
const sure = async ask => { // over new connections until it is answered
  for (let first = true; ; first = false) {
    try {
      if (!client?.connection.open) client = await Client.connect(url)
      return [await ask(client), first]
    } catch (e) { if (e instanceof PeriodicError && e.symbol !== 'BUSY') throw e; client?.close(); client = null; await sleep(30) }
  }
}
const submitting = (async () => {
  for (let i = 0; i < 400; i++) {
    const todo = { ms: i % 50 === 7 ? 2500 : 20 + i % 90 }
    if (i % 10 === 1) todo.fails = 1 + i % 2
    if (i % 10 === 2) todo.later = true
    if (i % 10 === 3) todo.follow = true
    if (i % 40 === 4) todo.final = true
    if (i % 40 === 5) { todo.gone = true; todo.ms = 1500 }
    const job = { func: 'w', name: 'j' + i, workload: JSON.stringify(todo), existing: 'keep', retry: { limit: 10, backoff: 'fixed', delay_ms: 100 } }
    const [answer, first] = await sure(c => c.submit(job))
    if (!first) { resubmitted++; if (answer.result === 'created') twice.add(job.name) }
    accepted.set(job.name, todo)
    if (todo.gone) setTimeout(async () => {
      const [{ result }] = await sure(c => c.remove('w', job.name))
      removed.add(job.name)
      expect(result === 'removed' || result === 'absent', `remove: ${result}`)
    }, 900)
    await sleep(8)
  }
})()
const cutting = (async () => {
  for (let n = 0; chaos; n++) {
    await sleep(400 + Math.random() * 400)
    const all = [...links], link = all[Math.floor(Math.random() * all.length)]
    if (n % 5 === 4) link?.freeze(); else link?.cut()
  }
})()
let kills = 0
const killing = (async () => { while (chaos) { await sleep(1600); if (!chaos) break; await stopDaemon('SIGKILL'); kills++; await sleep(100); await startDaemon() } })()
await submitting
say(`${accepted.size} jobs submitted, ${resubmitted} again, ${kills} kills so far`)
await sleep(300)
chaos = false
await Promise.all([cutting, killing])
for (let until = Date.now() + 33000; ;) { // all must end; a lost run may wait 30 s for its worker
  const [page] = await sure(c => c.statusPage({ prefix: 'w' }))
  const f = page.functions[0] ?? {}
  if (!f.waiting && !f.running && !f.behind) break
  if (Date.now() > until) { expect(false, `left over: ${JSON.stringify(f)}`); break }
  await sleep(100)
}
say(`${kills} kills, ${runs.length} runs of ${accepted.size} jobs, ${lost.length} told lost`)
await sleep(700) // pings confirm the last
const ran = new Set(runs.map(r => r.name))
for (const [name, todo] of accepted) {
  if (!ran.has(name) && !removed.has(name)) expect(false, `${name} never ran`)
  if (todo.follow && !ran.has(name + '+')) expect(false, `the follow-on of ${name} never ran`)
}
for (const r of runs) if (r.after && !twice.has(r.name.replace('+', ''))) expect(false, `${r.name} ran again after its end was acknowledged (run ${r.run})`)
const dead = []
for (let j of await Array.fromAsync(client.list({ func: 'w', limit: 50 }))) { dead.push(j.name); expect(j.state === 'dead' && j.reason === 'in vain', `${j.name} is ${j.state}: ${j.reason}`) }
const inVain = [...accepted].filter(([, t]) => t.final).map(([n]) => n)
assert.deepEqual(dead.sort(), inVain.sort())
expect(refused.length === 0, `refused: ${refused}`)
expect(lost.length > 0, 'nobody was told lost')
expect(workers.every(w => !w.running.size && !w.queue.length), 'a worker still runs something')
const [{ result }] = await sure(c => c.requeue('w', dead[0]))
expect(result === 'requeued', `requeue: ${result}`)

// --- 4. stopping in order: what was not begun is handed back at once, the rest is finished
const slow = new Worker(url, { s: { limit: 10, run: async () => { await sleep(500); return 'ok' } } }, { slots: 2 }).start()
const slowDone = []
slow.on('acknowledged', (job, o) => slowDone.push(o.outcome))
await sure(c => c.submitBatch(Array.from({ length: 8 }, (_, i) => ({ func: 's', name: 's' + i }))))
await sleep(200)
await Promise.all([slow, ...workers].map(w => w.stop(5000)))
expect(slow.undelivered.size === 0, 'outcomes are left')
assert.deepEqual(slowDone.sort(), ['done', 'done', ...Array(6).fill('later')])
const [{ functions: [s] }] = await sure(c => c.statusPage({ prefix: 's' }))
assert.deepEqual([s.waiting, s.running, s.workers], [6, 0, 0])
say('stopped in order')

// --- 5. the blocking worker
const python = start(interpreter, [path.join(here, 'blocking.py'), '127.0.0.1', String(port), 'b'])
await sure(c => c.submitBatch(Array.from({ length: 30 }, (_, i) => ({
  func: 'b', name: 'b' + i, workload: JSON.stringify(i % 6 ? { ms: 10 } : { ms: 20, fail: 'é' }), lease_ms: 3600000, retry: { delay_ms: 50 } }))))
const left = async () => (await sure(c => c.statusPage({ prefix: 'b' })))[0].functions[0]
for (let i = 0, f; i < 100 && (f = await left(), f?.waiting || f?.running); i++) await sleep(50)
expect(python.output.split('\n').filter(Boolean).length === 35, `blocking.py: ${python.output}`)
await sure(c => c.submitBatch([0, 1, 2].map(i => ({ func: 'b', name: 'last' + i, workload: '{"ms":400}' }))))
await sleep(150)
process.kill(python.pid, 'SIGTERM')
expect(await python.ended === 0, `blocking.py ended badly: ${python.output}`)
const f = await left()
assert.deepEqual([f.waiting, f.running, f.workers], [2, 0, 0])
say('blocking worker')

// --- 6. a worker of before a stop by SIGTERM comes back
const w2 = new Worker(url, { t: { limit: 2, run: async () => { await sleep(300); return 'ok' } } }, { pingEveryMs: 300 }).start()
await sure(c => c.submit({ func: 't', name: 't' }))
await sleep(150)
expect(await stopDaemon('SIGTERM') === 0, 'the daemon ended badly: ' + daemon.output)
await startDaemon()
await sleep(600)
expect((await sure(c => c.get('t', 't')))[0].result === 'absent', 'the run across SIGTERM did not count')
await w2.stop(5000)
client.close()
proxy.close()
for (const l of links) l.cut()
expect(await stopDaemon('SIGTERM') === 0, 'the daemon ended badly')
expect(!/Traceback/.test(daemonLog), 'the daemon logged a traceback: ' + daemonLog)
fs.rmSync(folder, { recursive: true })
say(failures.length ? `FAILED: ${failures.length}` : 'PASS')
process.exit(failures.length ? 1 : 0)

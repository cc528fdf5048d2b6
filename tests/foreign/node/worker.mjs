// The worker that survives (section 8 of the protocol).
//   const worker = new Worker('tcp://127.0.0.1:5000', { resize: { limit: 4, run: async (job, signal) => outcome } })
//   worker.start(); ... await worker.stop()
// run() returns an outcome (nothing, text, bytes or a map); what it throws is a failure. A job may run twice.
// Events: 'acknowledged' (job, outcome), 'refused' (handle, text), 'lost' (job), 'connection' (hello), 'trouble' (error).
import { EventEmitter } from 'node:events'
import { pathToFileURL } from 'node:url'
import { Connection } from './client.mjs'
import { encode } from './msgpack.mjs'

const sleep = ms => new Promise(r => setTimeout(r, ms))
const isMap = v => v !== null && typeof v === 'object' && !(v instanceof Uint8Array) && !Array.isArray(v)

export class Worker extends EventEmitter {
  constructor(url, functions, options = {}) {
    super()
    this.url = url
    this.functions = functions
    this.options = { client: 'node worker', slots: Infinity, disconnect_grace_ms: 5000, pingEveryMs: 15000, pingTimeoutMs: 30000, ...options }
    this.queue = []               // runs given and not begun: {job, msgid, connection}
    this.running = new Map()      // handle -> run that was begun
    this.undelivered = new Map()  // handle -> {job, outcome, connection it was responded on, or null}
    this.connection = null        // set from hello on
    this.stopping = false
    this.stopAsked = new Promise(resolve => { this.askToStop = resolve })
  }

  start() { this.finished = this.#life(); return this }

  async #life() {
    for (let failures = 0; ;) {
      try {
        const connection = await Connection.open(this.url)
        const closed = new Promise(resolve => connection.once('close', resolve))
        try {
          await this.#session(connection, closed, () => { failures = 0 })
          if (this.stopping && this.#idle()) return
        } finally {
          connection.close()
          this.connection = null
          this.#handBack()        // what was not begun goes to undelivered
        }
      } catch (e) { this.emit('trouble', e) }
      if (this.aborted) return
      const wait = Math.min(5000, 100 * 2 ** failures++)
      await sleep(wait / 2 + Math.random() * wait / 2)
    }
  }

  #idle() { return !this.queue.length && !this.running.size && !this.undelivered.size }

  async #session(connection, closed, wentWell) {
    connection.on('request', (...a) => this.#request(connection, ...a))
    connection.on('notification', (method, params) => method === 'notice' && this.#notice(...params))
    const life = closed.then(e => { throw e ?? new Error('the connection ended') })
    life.catch(() => {})
    const { client, disconnect_grace_ms } = this.options
    const server = await this.#answered(connection, 'hello', { client, disconnect_grace_ms })
    this.limits = server.limits
    this.connection = connection
    const pings = setInterval(() => this.#pingIfDue(connection), Math.min(1000, this.options.pingEveryMs / 4))
    this.unconfirmed = 0
    try {
      for (const [handle, entry] of this.undelivered) entry.connection = null, this.#finish(handle)
      await Promise.all([...this.running.keys()].map(handle => connection.request('extend', handle, { own: true }).catch(e => {
        if (e.symbol !== 'LEASE_LOST') throw e
        this.running.get(handle)?.abort.abort(e)   // told to stop; should it end well all the same, that is delivered
      })))
      if (!this.stopping) {
        try {
          for (const [func, { limit = 1 }] of Object.entries(this.functions)) await connection.request('subscribe', func, { limit })
        } catch (e) { if (e.symbol !== 'DRAINING') throw e; this.emit('trouble', e) } // it will close; then we come again
      }
      wentWell()
      this.emit('connection', server)
      await Promise.race([life, this.stopAsked])
      await Promise.race([life, this.#goodbye(connection)])
    } finally { clearInterval(pings) }
  }

  async #goodbye(connection) {
    await connection.request('unsubscribe_all')
    this.#handBack()
    while (this.running.size) await sleep(20)
    await this.#ping(connection)
    while (this.undelivered.size) await sleep(20) // what was sent by finish
  }

  // Ends when every outcome has arrived, or with the process if the daemon does not come back: then call it with a time.
  async stop(timeoutMs = 0) {
    this.stopping = true
    this.askToStop()
    if (timeoutMs) setTimeout(() => { this.aborted = true; this.connection?.socket.destroy() }, timeoutMs).unref()
    await this.finished
  }

  #request(connection, msgid, method, [job]) {
    if (method !== 'perform') return connection.respond(msgid, 'UNKNOWN_METHOD: a worker knows perform', null)
    const run = { job, msgid, connection, lost: false, abort: new AbortController() }
    this.emit('perform', job)
    this.queue.push(run)
    if (this.stopping) this.#handBack()
    this.#begin()
  }

  #begin() {
    while (this.queue.length && this.running.size < this.options.slots) {
      const run = this.queue.shift()
      this.running.set(run.job.handle, run)
      this.#run(run)
    }
  }

  async #run(run) {
    let outcome
    try {
      const f = this.functions[run.job.func]
      outcome = (await f.run(run.job, run.abort.signal)) ?? {}
      if (!isMap(outcome)) outcome = { data: outcome }
      outcome = { outcome: 'done', ...outcome }
    } catch (e) {
      if (run.abort.signal.aborted) run.lost = true // it was told to stop and did: no outcome
      outcome = { outcome: 'failed', reason: String(e?.message ?? e), final: e?.final }
    }
    this.running.delete(run.job.handle)
    this.#ended(run, outcome)
    this.#begin()
  }

  #ended({ job, msgid, connection, lost }, outcome) {
    const here = connection === this.connection
    if (lost) { if (here) connection.respond(msgid, null, null); return }
    try {
      if (encode(outcome).length + 1000 > (this.limits?.message_bytes ?? Infinity)) throw new Error('the outcome is larger than the daemon accepts')
    } catch (e) { outcome = { outcome: 'failed', reason: e.message, final: true } }
    const entry = { job, outcome, connection: null }
    this.undelivered.set(job.handle, entry)
    if (!here) return this.#finish(job.handle)
    if (connection.respond(msgid, null, outcome)) entry.connection = connection
    if (++this.unconfirmed >= 100) this.#ping(connection)
  }

  #finish(handle) { // of a run that came over an earlier connection; unanswered, it stays for the next one
    const entry = this.undelivered.get(handle)
    this.connection?.request('finish', handle, entry.outcome).then(() => this.#arrived(handle), e => {
      if (e.symbol === 'LEASE_LOST') this.undelivered.delete(handle)
      else if (e.symbol === 'INVALID') { // unlike a response, finish does not count an unreadable outcome as failed
        this.emit('refused', handle, e.message)
        entry.outcome = { outcome: 'failed', reason: e.message }
        this.#finish(handle)
      } else if (e.symbol === 'BUSY' && this.connection) setTimeout(() => this.#finish(handle), +(e.details.retry_after_ms ?? 500))
    })
  }

  #arrived(handle) {
    const { job, outcome } = this.undelivered.get(handle)
    this.undelivered.delete(handle)
    this.emit('acknowledged', job, outcome)
  }

  #handBack() {
    for (const run of this.queue.splice(0)) this.#ended(run, { outcome: 'later' })
  }

  async #ping(connection) {
    this.unconfirmed = 0
    const sent = [...this.undelivered].filter(([, e]) => e.connection === connection).map(([handle]) => handle)
    try {
      await this.#answered(connection, 'ping')
      for (const handle of sent) if (this.undelivered.has(handle)) this.#arrived(handle)
    } catch { /* the connection ended: all are delivered over the next */ }
  }

  async #answered(connection, ...request) {
    const timer = setTimeout(() => connection.socket.destroy(new Error(`no answer to ${request[0]}`)), this.options.pingTimeoutMs)
    try { return await connection.request(...request) } finally { clearTimeout(timer) }
  }

  #pingIfDue(connection) { if (Date.now() - connection.lastSent >= this.options.pingEveryMs) this.#ping(connection) }

  #notice(handle, kind, text) {
    if (kind === 'refused') this.emit('refused', handle, text)
    else if (kind === 'stop') this.#handBack()
    else if (kind === 'lost') {
      const run = this.running.get(handle) ?? this.queue.find(r => r.job.handle === handle)
      const entry = this.undelivered.get(handle)
      this.emit('lost', run?.job ?? entry?.job, text)
      this.undelivered.delete(handle)
      if (!run) return
      run.lost = true
      run.abort.abort(new Error(text))
      const at = this.queue.indexOf(run)
      if (at >= 0) { this.queue.splice(at, 1); this.#ended(run, null) } // not begun: the room comes back at once
    }
  }
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  const [url = 'tcp://127.0.0.1:5000', func = 'demo'] = process.argv.slice(2)
  const worker = new Worker(url, { [func]: { limit: 4, run: async job => console.log('run', job.run, job.name, String(job.workload)) } })
  for (const name of ['acknowledged', 'refused', 'lost', 'connection', 'trouble']) worker.on(name, (...a) => console.log(name, ...a))
  worker.start()
  for (const signal of ['SIGTERM', 'SIGINT']) process.once(signal, () => worker.stop(30000))
}

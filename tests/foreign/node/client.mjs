// A client of periodicd, protocol version 1. Demo: node client.mjs tcp://127.0.0.1:5000
import net from 'node:net'
import { EventEmitter } from 'node:events'
import { pathToFileURL } from 'node:url'
import { encode, decode, Incomplete } from './msgpack.mjs'

// What the daemon answered as an error: `SYMBOL key=value key=value: message`.
export class PeriodicError extends Error {
  constructor(text) {
    text = String(text)
    const symbol = /^[A-Z0-9_]*/.exec(text)[0]
    const [, details = '', message] = /^((?: [a-z_]+=[^ :]*)*)(?:: )?([^]*)$/.exec(text.slice(symbol.length))
    super(text)
    this.symbol = symbol
    this.details = Object.fromEntries(details.split(' ').filter(Boolean).map(d => d.split(/=(.*)/s, 2)))
    this.text = message
  }
}

// The request was not answered: it may or may not have happened.
export class ConnectionLost extends Error {}

// One connection. Events: 'request' (msgid, method, params), 'notification' (method, params), 'close' (error or null).
export class Connection extends EventEmitter {
  static open(url, timeoutMs = 5000) {
    const unix = /^unix:\/\/(.+)$/.exec(url), tcp = /^tcp:\/\/(.+):(\d+)$/.exec(url)
    if (!unix && !tcp) throw new TypeError(`neither tcp://host:port nor unix:///path: ${url}`)
    const socket = unix ? net.connect(unix[1]) : net.connect({ host: tcp[1].replace(/^\[|\]$/g, ''), port: +tcp[2], noDelay: true })
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => socket.destroy(new Error('connecting took too long')), timeoutMs)
      socket.once('error', e => { clearTimeout(timer); reject(e) })
      socket.once('connect', () => { clearTimeout(timer); socket.removeAllListeners('error'); resolve(new Connection(socket)) })
    })
  }

  constructor(socket) {
    super()
    this.socket = socket
    this.waiting = new Map() // msgid -> {resolve, reject}
    this.msgid = 0
    this.error = null        // why the connection ended
    this.lastSent = Date.now()
    let chunks = [], size = 0, need = 1
    socket.on('data', data => {
      chunks.push(data)
      size += data.length
      if (size < need) return // a large message is put together once, not at every chunk
      let all = Buffer.concat(chunks)
      try {
        need = 1
        while (all.length) {
          const [message, used] = decode(all)
          all = all.subarray(used)
          this.#take(message)
        }
      } catch (e) {
        if (!(e instanceof Incomplete)) { this.error ??= e; return socket.destroy() }
        need = e.need
      }
      chunks = [all]
      size = all.length
    })
    socket.on('error', e => { this.error ??= e })
    socket.on('close', () => {
      const lost = this.error instanceof PeriodicError ? this.error : new ConnectionLost(this.error?.message ?? 'closed')
      for (const { reject } of this.waiting.values()) reject(lost)
      this.waiting.clear()
      this.emit('close', this.error)
    })
  }

  get open() { return !this.socket.destroyed && this.socket.writable }

  #take(message) {
    if (!Array.isArray(message)) throw new Error('not a message of MessagePack-RPC')
    const [kind, a, b, c] = message
    if (kind === 0) this.emit('request', a, b, c)
    else if (kind === 2) this.emit('notification', a, b)
    else if (kind === 1 && a === null) this.error = new PeriodicError(b) // said before the daemon closes
    else if (kind === 1) {
      const waiting = this.waiting.get(a)
      this.waiting.delete(a)
      if (b === null) waiting?.resolve(c)
      else waiting?.reject(new PeriodicError(b))
    }
  }

  #send(message) {
    if (!this.open) return false
    this.lastSent = Date.now()
    this.socket.write(encode(message))
    return true
  }

  // Strictly in the order of the calls; resolves with the answer's map.
  request(method, ...params) {
    do this.msgid = (this.msgid + 1) >>> 0; while (this.waiting.has(this.msgid))
    const msgid = this.msgid
    return new Promise((resolve, reject) => {
      this.waiting.set(msgid, { resolve, reject })
      try {
        if (!this.#send([0, msgid, method, params])) throw new ConnectionLost(this.error?.message ?? 'closed')
      } catch (e) { this.waiting.delete(msgid); reject(e) }
    })
  }

  respond(msgid, error, result) { return this.#send([1, msgid, error, result]) }

  close() { this.socket.end(); const t = setTimeout(() => this.socket.destroy(), 2000); t.unref() }
}

// All requests of a client. submit() takes every key of a job as the protocol names it.
export class Client {
  static async connect(url, options) {
    const client = new Client(await Connection.open(url))
    if (options) client.server = await client.hello(options)
    return client
  }
  constructor(connection) { this.connection = connection }
  #ask(method, ...params) {
    while (params.length && params.at(-1) === undefined) params.pop()
    return this.connection.request(method, ...params)
  }
  hello(options) { return this.#ask('hello', options) }
  ping() { return this.#ask('ping') }
  submit(job) { return this.#ask('submit', job) }
  submitBatch(jobs) { return this.#ask('submit_batch', jobs) }
  remove(func, name, options) { return this.#ask('remove', func, name, options) }
  requeue(func, name, options) { return this.#ask('requeue', func, name, options) }
  get(func, name, options) { return this.#ask('get', func, name, options) }
  listPage(query) { return this.#ask('list', query) }
  statusPage(query) { return this.#ask('status', query) }
  shutdown() { return this.#ask('shutdown') }
  close() { this.connection.close() }

  async *#pages(ask, query, key) {
    for (let after = query.after; ;) {
      let page
      try { page = await ask({ ...query, after }) } catch (e) {
        if (e.symbol !== 'BUSY' || !this.connection.open) throw e
        await new Promise(r => setTimeout(r, +(e.details.retry_after_ms ?? 100)))
        continue
      }
      yield* page[key]
      if (page.next == null) return
      after = page.next
    }
  }
  list(query = {}) { return this.#pages(q => this.listPage(q), query, 'jobs') }
  functions(query = {}) { return this.#pages(q => this.statusPage(q), query, 'functions') }
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  const client = await Client.connect(process.argv[2] ?? 'tcp://127.0.0.1:5000', { client: 'node demo' })
  console.log('hello', client.server)
  console.log('submit', await client.submit({
    func: 'demo', name: 'one', workload: Buffer.from('hello'), headers: { 'content-type': 'text/plain' },
    delay_ms: 60000, priority: -5, lease_ms: 5000, existing: 'replace',
    retry: { limit: 3, backoff: 'fixed', delay_ms: 100, cap_ms: 1000, jitter_percent: 10 },
  }))
  console.log('batch', await client.submitBatch([{ func: 'demo', name: 'one', existing: 'keep' }, { func: 'demo', name: 'two' }]))
  console.log('get', await client.get('demo', 'one', { workload: true }))
  await client.submit({ func: 'demo', name: 'three', due: 1 }).catch(e => console.log('refused', e.symbol, e.details, e.text))
  for await (const job of client.list({ func: 'demo', limit: 1 })) console.log('list', job.id, job.name, job.state)
  for await (const f of client.functions({ prefix: 'de', limit: 1 })) console.log('status', f)
  for (const name of ['one', 'two', 'three']) console.log('remove', name, await client.remove('demo', name))
  console.log('requeue', await client.requeue('demo', 'one'), 'ping', await client.ping())
  client.close()
}

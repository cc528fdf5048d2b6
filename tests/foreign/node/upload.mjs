// Uploads in place of the image workers' own (enable-upload: elsewhere), to a WebDAV server: docs/image-functions.md.
//   node upload.mjs tcp://127.0.0.1:5000 ROOT http://USER:PASSWORD@HOST/FOLDER
import { createHash, randomUUID } from 'node:crypto'
import { readFile, realpath } from 'node:fs/promises'
import { join, sep } from 'node:path'
import { Worker } from './worker.mjs'

const [url, rootFolder, cloud] = process.argv.slice(2)
const root = await realpath(rootFolder)
const { origin, pathname, username, password } = new URL(cloud)
const authorization = 'Basic ' + Buffer.from(`${decodeURIComponent(username)}:${decodeURIComponent(password)}`).toString('base64')
const rules = { join_group: true, lease_ms: 300000, retry: { limit: 16, backoff: 'quadratic', delay_ms: 1000, cap_ms: 3600000 } }
const beginnings = { ffd8ff: 'image/jpeg', '89504e': 'image/png', 474946: 'image/gif', 524946: 'image/webp' }
const refused = text => Object.assign(new Error(text), { final: true })
const hash = data => createHash('sha256').update(data).digest('hex')
const aside = key => `.unfinished-${hash(key)}`
const at = key => `${origin}${pathname}/${key.split('/').map(encodeURIComponent).join('/')}`

async function ask(method, key, signal, headers = {}, body, fine = []) {
  const limit = AbortSignal.any([signal, AbortSignal.timeout(60000)])
  const answer = await fetch(at(key), { method, body, signal: limit, headers: { authorization, ...headers } })
  await answer.arrayBuffer()
  if (!answer.ok && !fine.includes(answer.status)) throw new Error(`${method} ${key}: ${answer.status}`)
}

async function content(name) {
  if (!name || name.split('/').some(part => ['', '.', '..'].includes(part))) throw refused(`${name} is no name of a file`)
  const path = await realpath(join(root, name)) // an error if there is none (yet): tried again
  if (!path.startsWith(root + sep)) throw refused(`${name} leads out of root`)
  return readFile(path)
}

const changed = (source, version) => // one that is gone was not
  content(source).then(data => hash(data) !== version, e => { if (e.code !== 'ENOENT') throw e })

async function upload(job, signal) {
  const { key, source, then } = job.headers
  if (!key) throw refused('the job has no header key')
  const again = { submit: [{ func: 'upload-next-compress', name: source, headers: { key, then: 'compress' }, ...rules }] }
  const version = job.workload.toString()
  if (source && await changed(source, version)) return again
  const data = await content(job.name)
  const type = data.toString('latin1', 4, 12) === 'ftypavif' ? 'image/avif' : beginnings[data.toString('hex', 0, 3)]
  if (!type) throw refused('it does not begin as a picture')
  const folders = key.split('/').slice(0, -1), file = `${aside(key)}/${randomUUID()}`
  await ask('DELETE', aside(key), signal, {}, undefined, [404]) // earlier uploads of this key find nothing from now on
  for (const [i] of folders.entries()) await ask('MKCOL', folders.slice(0, i + 1).join('/'), signal, {}, undefined, [405])
  await ask('MKCOL', aside(key), signal)
  await ask('PUT', file, signal, { 'content-type': type }, data)
  await ask('MOVE', file, signal, { destination: at(key), overwrite: 'T' })
  await ask('DELETE', aside(key), signal, {}, undefined, [404])
  if (source && await changed(source, version)) return again
  return then ? { submit: [{ func: then, name: job.name, ...rules }] } : {}
}

async function unpublish({ name, headers: { key } }, signal) {
  if (!key) throw refused('the job has no header key')
  if (await changed(name, '')) return // it is there: saved anew
  for (const each of [aside(key), key]) await ask('DELETE', each, signal, {}, undefined, [404])
}

const uploads = ['upload', 'upload-next-compress', 'upload-next-remove'].map(func => [func, { limit: 4, run: upload }])
const worker = new Worker(url, { ...Object.fromEntries(uploads), unpublish: { limit: 4, run: unpublish } })
worker.start()
process.once('SIGTERM', () => worker.stop(30000))

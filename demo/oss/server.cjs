// A server that speaks enough OSS for uploads, and checks every signature with the vendor's own code for Node, which
// shares nothing with the Python library under test. It holds everything in memory and ends with its standard input.
//
// usage: node server.cjs ACCESS_ID ACCESS_KEY REGION      prints its port; needs `npm ci` in this folder
//
// Below /-/, where no bucket can be, a test sees and says what no client of OSS may:
//
//     GET  /-/state            buckets with their ACL, objects, and all requests so far
//     GET  /-/object?id=B/KEY  the content of an object
//     POST /-/bucket           {name, acl}: make it
//     POST /-/access           {key, token}: from now on this is the secret, and a token must go with it, if one is given
//     POST /-/domain           {host, bucket}: this host is the bucket's own domain
//     POST /-/fault            {kind, times, on, ...}: what goes wrong with the next requests, or the next that are `on`;
//                              the kinds are in FAULTS
//     POST /-/hold             {on}: the next request that is `on` is held, after all of it was read
//     GET  /-/held             answers when it is
//     POST /-/release          it is done now, though nobody may hear of it
'use strict';
const crypto = require('crypto');
const http = require('http');
const signUtils = require('ali-oss/lib/common/signUtils');

const [ACCESS_ID, FIRST_ACCESS_KEY, REGION] = process.argv.slice(2);
const SIGNED_QUERIES = ['bucketInfo', 'continuation-token']; // by V1; of the requests that this server answers
const MAX_KEY_BYTES = 1023;

let accessKey = FIRST_ACCESS_KEY;
let token; // of a key that was lent
let ownDomain; // {host, bucket}: requests to this host are for this bucket, which their path does not name
let hold; // of class Hold
const is = ({ method, headers }) => (headers['x-oss-copy-source'] ? 'COPY' : method); // what `on` is compared with

let fault = { kind: 'none', times: 0 };
const buckets = new Map(); // name -> ACL
const objects = new Map(); // bucket/key -> {content, type}
const requests = [];

// ---- signatures -----------------------------------------------------------------------------------------------------

function signatureV4(request) {
  const additional = /AdditionalHeaders=([^,]*)/.exec(request.authorization);
  const queries = Object.fromEntries([...request.query].map(([name, value]) => [name, value === '' ? null : value]));
  return signUtils.authorizationV4(
    ACCESS_ID, accessKey, REGION, request.method, { headers: request.headers, queries },
    request.bucket, request.key, additional ? additional[1].split(';') : [],
  );
}

function signatureV1(request) {
  const signed = [...request.query].filter(([name]) => SIGNED_QUERIES.includes(name));
  const canonical = signUtils.buildCanonicalString(
    request.method, `/${request.bucket}/${request.key}`,
    { headers: { 'content-type': '', ...request.headers }, parameters: Object.fromEntries(signed) },
    request.headers['x-oss-date'] || request.headers.date,
  );
  return signUtils.authorization(ACCESS_ID, accessKey, canonical);
}

// Returns [version, whether it is the one that the vendor's code makes].
function checkSignature(request) {
  const version = request.authorization.startsWith('OSS4-') ? 'v4' : 'v1';
  if (version === 'v4' && !request.headers['x-oss-date']) return [version, false];
  const expected = version === 'v4' ? signatureV4(request) : signatureV1(request);
  return [version, request.authorization.replace(/, /g, ',') === expected];
}

// ---- answers --------------------------------------------------------------------------------------------------------

const CRC_TABLE = Array.from({ length: 256 }, (_, byte) => {
  let crc = BigInt(byte);
  for (let bit = 0; bit < 8; bit++) crc = crc & 1n ? (crc >> 1n) ^ 0xc96c5795d7870f42n : crc >> 1n;
  return crc;
});

function crc64(content) {
  let crc = 0xffffffffffffffffn;
  for (const byte of content) crc = CRC_TABLE[Number((crc ^ BigInt(byte)) & 0xffn)] ^ (crc >> 8n);
  return String(crc ^ 0xffffffffffffffffn);
}

const answer = (status, headers = {}, body = '') => ({ status, headers, body });
const xml = (status, body) => answer(status, { 'content-type': 'application/xml' }, `<?xml version="1.0"?>\n${body}`);

function error(status, code, details = {}) {
  const all = { Code: code, Message: `This is ${code}.`, ...details };
  const tags = Object.entries(all).map(([tag, text]) => `<${tag}>${text}</${tag}>`);
  return xml(status, `<Error>${tags.join('')}</Error>`);
}

function bucketInfo(name) {
  const at = `oss-${REGION}.aliyuncs.com`;
  return `<BucketInfo><Bucket><Name>${name}</Name><CreationDate>2026-01-01T00:00:00.000Z</CreationDate>
    <StorageClass>Standard</StorageClass><ExtranetEndpoint>${at}</ExtranetEndpoint>
    <IntranetEndpoint>${at}</IntranetEndpoint><Location>oss-${REGION}</Location>
    <Owner><DisplayName>1</DisplayName><ID>1</ID></Owner>
    <AccessControlList><Grant>${buckets.get(name)}</Grant></AccessControlList></Bucket></BucketInfo>`;
}

const etag = ({ content }) => `"${crypto.createHash('md5').update(content).digest('hex').toUpperCase()}"`;

const found = object => answer(200, {
  'content-length': object.content.length, 'content-type': object.type, etag: etag(object),
  'last-modified': object.modified.toUTCString(), 'x-oss-hash-crc64ecma': crc64(object.content),
}, object.content);

const dated = moment => moment.toISOString().replace(/\.\d+Z$/, '.000Z'); // as OSS writes it

function listed(bucket, query) {
  const prefix = query.get('prefix') || '';
  const after = query.get('continuation-token') || '';
  const all = [...objects.keys()].filter(id => id.startsWith(`${bucket}/${prefix}`)).map(id => id.slice(bucket.length + 1));
  const rest = all.sort().filter(key => key > after);
  const page = rest.slice(0, Number(query.get('max-keys') || 100));
  const contents = page.map(key => {
    const object = objects.get(`${bucket}/${key}`);
    return `<Contents><Key>${encodeURIComponent(key)}</Key><LastModified>${dated(object.modified)}</LastModified>
      <ETag>${etag(object)}</ETag><Type>Normal</Type><Size>${object.content.length}</Size>
      <StorageClass>Standard</StorageClass></Contents>`;
  });
  const more = rest.length > page.length;
  return `<ListBucketResult><Name>${bucket}</Name><EncodingType>url</EncodingType><IsTruncated>${more}</IsTruncated>
    ${more ? `<NextContinuationToken>${encodeURIComponent(page.at(-1))}</NextContinuationToken>` : ''}
    <KeyCount>${page.length}</KeyCount>${contents.join('')}</ListBucketResult>`;
}

function answerTo(request) {
  const { method, bucket, key, query, headers } = request;
  [request.signature, request.signed] = checkSignature(request);
  if (!request.signed) {
    // OSS repeats the signature too, so whoever logs its answer as it is logs that.
    return error(403, 'SignatureDoesNotMatch', { OSSAccessKeyId: ACCESS_ID, SignatureProvided: request.authorization });
  }
  if (token && headers['x-oss-security-token'] !== token) return error(403, 'InvalidSecurityToken');
  if (method === 'PUT' && !key) {
    buckets.set(bucket, headers['x-oss-acl'] || buckets.get(bucket) || 'none given');
    return answer(200);
  }
  if (!buckets.has(bucket)) return error(404, 'NoSuchBucket');
  if (method === 'GET' && !key && query.has('bucketInfo')) return xml(200, bucketInfo(bucket));
  if (method === 'GET' && !key && query.get('list-type') === '2') return xml(200, listed(bucket, query));
  const id = `${bucket}/${key}`;
  if (method === 'DELETE' && key) {
    objects.delete(id);
    return answer(204);
  }
  if ((method === 'GET' || method === 'HEAD') && key) {
    return objects.has(id) ? found(objects.get(id)) : error(404, 'NoSuchKey');
  }
  if (method === 'PUT' && headers['x-oss-copy-source']) {
    const source = objects.get(decodeURIComponent(headers['x-oss-copy-source']).slice(1));
    if (!source) return error(404, 'NoSuchKey');
    objects.set(id, { ...source, acl: headers['x-oss-object-acl'], modified: new Date() });
    return xml(200, `<CopyObjectResult><ETag>${etag(source)}</ETag>
      <LastModified>${dated(new Date())}</LastModified></CopyObjectResult>`);
  }
  if (method === 'PUT' && !query.size) {
    if (Buffer.byteLength(key) > MAX_KEY_BYTES || /^[/\\]/.test(key)) return error(400, 'InvalidObjectName');
    const told = { cache: headers['cache-control'], acl: headers['x-oss-object-acl'] };
    objects.set(id, { content: request.content, type: headers['content-type'], modified: new Date(), ...told });
    return answer(200, { 'x-oss-hash-crc64ecma': crc64(request.content), etag: etag(objects.get(id)) });
  }
  return error(501, 'NotImplemented');
}

// ---- faults ---------------------------------------------------------------------------------------------------------

// Each gets the request, the socket and how the request is answered; it returns an answer, or nothing to give none.
const FAULTS = {
  error: () => error(fault.status, fault.code),
  bare: () => answer(502, {}, '<html>Bad Gateway'),
  redirect: () => answer(302, { location: '/-/page' }),
  silent: () => undefined,
  cutInAnswer(request, socket, answered) { // it was done, but nobody hears of it
    answered(request);
    socket.end('HTTP/1.1 200 OK\r\ncontent-le');
  },
  corruptAnswer(request, socket, answered) { // on its way back
    const { status, headers, body } = answered(request);
    return { status, headers, body: Buffer.from(body).fill('!', 0, 1) };
  },
  corrupt(request, socket, answered) { // on its way here
    request.content = Buffer.concat([request.content, Buffer.from('!')]);
    return answered(request);
  },
};

// While the request is still being read: it is cut off, or read as a slow line brings it.
const BEFORE_ANSWERING = ['cutInRequest', 'slow'];
const SLOW_MS = 20; // for each 64 KB

// Returns what happens to a request now that its head is here: a function of FAULTS, one of the above, or nothing.
function nextFault(request) {
  if (fault.times <= 0 || (fault.on && fault.on !== is(request))) return undefined;
  fault.times -= 1;
  return BEFORE_ANSWERING.includes(fault.kind) ? fault.kind : FAULTS[fault.kind];
}

// ---- control, and the server ----------------------------------------------------------------------------------------

const CONTROLS = {
  'GET /-/state': () => ({
    buckets: Object.fromEntries(buckets),
    objects: Object.fromEntries([...objects].map(
      ([id, { content, modified, ...told }]) => [id, { ...told, size: content.length }])),
    requests,
  }),
  'GET /-/object': (_, query) => objects.get(query.get('id'))?.content,
  'GET /-/page': () => Buffer.from('<html>Please log in to this network.'),
  'POST /-/bucket': ({ name, acl }) => void buckets.set(name, acl),
  'POST /-/access': told => void ([accessKey, token] = [told.key, told.token]),
  'POST /-/hold': told => void (hold = new Hold(told)),
  'GET /-/held': () => hold.held.then(() => true),
  'POST /-/release': () => (hold.release(), hold.done.then(() => true)),
  'POST /-/domain': told => void (ownDomain = told),
  'POST /-/fault': told => {
    if (!BEFORE_ANSWERING.includes(told.kind) && !(told.kind in FAULTS)) throw new Error(`there is no fault ${told.kind}`);
    fault = told;
  },
};

// Of one request, which is done when somebody says so.
class Hold {
  constructor({ on }) {
    this.on = on;
    this.held = new Promise(resolve => { this.caught = resolve; });
    this.released = new Promise(resolve => { this.release = resolve; });
    this.done = new Promise(resolve => { this.finish = resolve; });
    this.isFree = true;
  }
  async wants(request) {
    if (!this.isFree || this.on !== is(request)) return false;
    this.isFree = false;
    this.caught();
    await this.released;
    return true;
  }
}

function send(response, { status, headers, body }) {
  response.writeHead(status, { 'x-oss-request-id': `R${requests.length}`, 'content-length': Buffer.byteLength(body), ...headers });
  response.end(response.req.method === 'HEAD' ? undefined : body);
}

async function control(incoming, response, url, content) {
  const found = await CONTROLS[`${incoming.method} ${url.pathname}`](content.length ? JSON.parse(content) : {}, url.searchParams);
  if (Buffer.isBuffer(found)) send(response, answer(200, {}, found));
  else send(response, answer(url.pathname === '/-/object' ? 404 : 200, {}, JSON.stringify(found ?? null)));
}

async function serve(incoming, response, url, content, wrong) {
  const { method, headers } = incoming;
  const path = url.pathname.split('/').map(decodeURIComponent).slice(1);
  const domain = ownDomain && headers.host.split(':')[0] === ownDomain.host;
  const [bucket, ...parts] = domain ? [ownDomain.bucket, ...path] : path;
  const authorization = headers.authorization || '';
  const request = { method, headers, authorization, bucket, key: parts.join('/'), query: url.searchParams, content };
  const wasHeld = await hold?.wants(request);
  const answered = typeof wrong === 'function' ? wrong(request, incoming.socket, answerTo) : answerTo(request);
  requests.push({
    method, is: is(request), bucket, key: request.key, authorization, signature: request.signature, signed: request.signed,
    status: answered?.status, port: incoming.socket.remotePort,
  });
  if (answered) send(response, answered);
  if (wasHeld) hold.finish();
}

const server = http.createServer((incoming, response) => {
  const url = new URL(incoming.url, 'http://here');
  const ours = url.pathname.startsWith('/-/');
  const wrong = ours ? undefined : nextFault(incoming);
  if (wrong === 'cutInRequest') return void incoming.once('data', () => incoming.socket.destroy());
  if (wrong === 'slow') incoming.on('data', () => { incoming.pause(); setTimeout(() => incoming.resume(), SLOW_MS); });
  const chunks = [];
  incoming.on('data', chunk => chunks.push(chunk));
  incoming.on('end', () => {
    const content = Buffer.concat(chunks);
    if (ours) void control(incoming, response, url, content);
    else void serve(incoming, response, url, content, wrong);
  });
});

server.listen(0, '127.0.0.1', () => console.log(server.address().port));
process.stdin.on('end', () => process.exit()).resume();

// The MessagePack that periodicd's protocol needs: nil, booleans, integers, str, bin, array, map. No floats, no ext.
export class Incomplete extends Error { constructor(need) { super('incomplete'); this.need = need } }

export function encode(value) {
  const parts = []
  const head = (small, smallMax, code8, code16, n) => { // length headers of str, bin, array, map
    if (n <= smallMax) parts.push(Buffer.from([small | n]))
    else if (code8 && n < 256) parts.push(Buffer.from([code8, n]))
    else if (n < 65536) parts.push(Buffer.from([code16, n >> 8, n & 255]))
    else { const b = Buffer.alloc(5); b[0] = code16 + 1; b.writeUInt32BE(n, 1); parts.push(b) }
  }
  const integer = n => {
    if (!Number.isSafeInteger(n)) throw new TypeError(`not an integer of the protocol: ${n}`)
    const b = Buffer.alloc(9)
    const put = (code, size, write) => { b[0] = code; write.call(b, n, 1); parts.push(b.subarray(0, 1 + size)) }
    if (n >= -32 && n < 128) parts.push(Buffer.from([n & 255]))
    else if (n >= 0 && n < 2 ** 8) put(0xcc, 1, b.writeUInt8)
    else if (n >= 0 && n < 2 ** 16) put(0xcd, 2, b.writeUInt16BE)
    else if (n >= 0 && n < 2 ** 32) put(0xce, 4, b.writeUInt32BE)
    else if (n >= 0) { b[0] = 0xcf; b.writeBigUInt64BE(BigInt(n), 1); parts.push(b) }
    else if (n >= -(2 ** 7)) put(0xd0, 1, b.writeInt8)
    else if (n >= -(2 ** 15)) put(0xd1, 2, b.writeInt16BE)
    else if (n >= -(2 ** 31)) put(0xd2, 4, b.writeInt32BE)
    else { b[0] = 0xd3; b.writeBigInt64BE(BigInt(n), 1); parts.push(b) }
  }
  const put = v => {
    if (v === null || v === undefined) parts.push(Buffer.from([0xc0]))
    else if (typeof v === 'boolean') parts.push(Buffer.from([v ? 0xc3 : 0xc2]))
    else if (typeof v === 'number') integer(v)
    else if (typeof v === 'string') { const b = Buffer.from(v); head(0xa0, 31, 0xd9, 0xda, b.length); parts.push(b) }
    else if (v instanceof Uint8Array) { head(0, -1, 0xc4, 0xc5, v.length); parts.push(v) }
    else if (Array.isArray(v)) { head(0x90, 15, 0, 0xdc, v.length); v.forEach(put) }
    else if (typeof v === 'object') {
      const entries = Object.entries(v).filter(([, x]) => x !== undefined)
      head(0x80, 15, 0, 0xde, entries.length)
      for (const [k, x] of entries) { put(k); put(x) }
    } else throw new TypeError(`cannot be sent: ${typeof v}`)
  }
  put(value)
  return Buffer.concat(parts)
}

// One value from the beginning of `b`; returns [value, bytes used] or throws Incomplete.
export function decode(b, start = 0) {
  let at = start
  const take = n => { if (at + n > b.length) throw new Incomplete(at + n - start); at += n; return at - n }
  const u8 = () => b[take(1)], u16 = () => b.readUInt16BE(take(2)), u32 = () => b.readUInt32BE(take(4))
  const str = n => { const from = take(n); return b.toString('utf8', from, from + n) }
  const bin = n => { const from = take(n); return Buffer.from(b.subarray(from, from + n)) }
  const array = n => { const a = []; while (n-- > 0) a.push(any()); return a }
  const map = n => {
    const m = {}
    while (n-- > 0) Object.defineProperty(m, any(), { value: any(), enumerable: true, writable: true, configurable: true })
    return m
  }
  const any = () => {
    const c = u8()
    if (c < 0x80) return c
    if (c < 0x90) return map(c & 15)
    if (c < 0xa0) return array(c & 15)
    if (c < 0xc0) return str(c & 31)
    if (c >= 0xe0) return c - 256
    switch (c) {
      case 0xc0: return null
      case 0xc2: return false
      case 0xc3: return true
      case 0xc4: return bin(u8())
      case 0xc5: return bin(u16())
      case 0xc6: return bin(u32())
      case 0xca: return b.readFloatBE(take(4))
      case 0xcb: return b.readDoubleBE(take(8))
      case 0xcc: return u8()
      case 0xcd: return u16()
      case 0xce: return u32()
      case 0xcf: return Number(b.readBigUInt64BE(take(8)))
      case 0xd0: return b.readInt8(take(1))
      case 0xd1: return b.readInt16BE(take(2))
      case 0xd2: return b.readInt32BE(take(4))
      case 0xd3: return Number(b.readBigInt64BE(take(8)))
      case 0xd9: return str(u8())
      case 0xda: return str(u16())
      case 0xdb: return str(u32())
      case 0xdc: return array(u16())
      case 0xdd: return array(u32())
      case 0xde: return map(u16())
      case 0xdf: return map(u32())
    }
    throw new Error(`not MessagePack of this protocol: 0x${c.toString(16)}`)
  }
  const value = any()
  return [value, at - start]
}

type Hash = Map<string, string>
type Scores = Map<string, number>

/** As much of a Redis as the ledger's writes need: applies the commands of an append-only file. */
export class Keyspace {
  readonly hashes = new Map<string, Hash>()
  readonly scores = new Map<string, Scores>()
  readonly strings = new Map<string, string>()
  readonly expiries = new Map<string, number>()
  readonly #others = new Set<string>()

  /** Whether a key of any type is there. */
  has(key: string): boolean {
    return this.hashes.has(key) || this.scores.has(key) || this.strings.has(key) || this.#others.has(key)
  }

  /** Applies one command. Throws on one that it does not know: the history would be wrong from there on. */
  apply(command: readonly string[]): void {
    const [name = '', key = '', ...rest] = command
    const change = changes[name.toUpperCase()]
    if (!change) throw new Error(`the replay of the ledger does not know the command ${name} ${key}`)
    change(this, key, rest)
  }

  delete(key: string): void {
    for (const part of [this.hashes, this.scores, this.strings, this.expiries]) part.delete(key)
    this.#others.delete(key)
  }

  hash(key: string): Hash {
    return made(this.hashes, key)
  }

  sorted(key: string): Scores {
    return made(this.scores, key)
  }

  mark(key: string): void {
    this.#others.add(key)
  }

  dropEmpty(key: string): void {
    if (this.hashes.get(key)?.size === 0 || this.scores.get(key)?.size === 0) this.delete(key)
  }
}

const made = <T extends Hash | Scores>(map: Map<string, T>, key: string): T => {
  const known = map.get(key)
  if (known) return known
  const fresh = new Map() as T
  map.set(key, fresh)
  return fresh
}

type Change = (space: Keyspace, key: string, rest: readonly string[]) => void

const setHash: Change = (space, key, rest) => {
  const hash = space.hash(key)
  for (let i = 0; i + 1 < rest.length; i += 2) hash.set(rest[i]!, rest[i + 1]!)
}

const addToHash: Change = (space, key, [field = '', by = '0']) => {
  const hash = space.hash(key)
  hash.set(field, String(Number(hash.get(field) ?? 0) + Number(by)))
}

const addScores: Change = (space, key, rest) => {
  const scores = space.sorted(key)
  let at = 0
  const flags = new Set<string>()
  while (/^(NX|XX|GT|LT|CH)$/i.test(rest[at] ?? '')) flags.add(rest[at++]!.toUpperCase())
  for (; at + 1 < rest.length; at += 2) {
    const [score, member] = [Number(rest[at]), rest[at + 1]!]
    const before = scores.get(member)
    if (before === undefined ? flags.has('XX') : flags.has('NX')) continue
    if (before !== undefined && flags.has('LT') && score >= before) continue
    if (before !== undefined && flags.has('GT') && score <= before) continue
    scores.set(member, score)
  }
  space.dropEmpty(key)
}

const setString: Change = (space, key, [value = '', ...options]) => {
  space.delete(key)
  space.strings.set(key, value)
  const at = options.findIndex(option => option.toUpperCase() === 'PXAT')
  if (at >= 0) space.expiries.set(key, Number(options[at + 1]))
}

const remove: Change = (space, key, rest) => {
  for (const one of [key, ...rest]) space.delete(one)
}

const removeByRank: Change = (space, key, [first = '0', last = '-1']) => {
  const ordered = [...space.sorted(key)].toSorted(([a, x], [b, y]) => x - y || (a < b ? -1 : 1))
  const from = Number(first) < 0 ? ordered.length + Number(first) : Number(first)
  const to = Number(last) < 0 ? ordered.length + Number(last) : Number(last)
  for (const [member] of ordered.slice(Math.max(0, from), to + 1)) space.sorted(key).delete(member)
  space.dropEmpty(key)
}

const removeByLex: Change = (space, key, [, last = '+']) => {
  const bound = last.slice(1)
  for (const member of [...space.sorted(key).keys()]) {
    if (last === '+' || member < bound || (last.startsWith('[') && member === bound)) space.sorted(key).delete(member)
  }
  space.dropEmpty(key)
}

const removeFrom =
  (part: 'hash' | 'sorted'): Change =>
  (space, key, rest) => {
    for (const one of rest) space[part](key).delete(one)
    space.dropEmpty(key)
  }

const marks: Change = (space, key) => space.mark(key)

const changes: Readonly<Record<string, Change>> = {
  HSET: setHash,
  HMSET: setHash,
  HSETNX: (space, key, [field = '', value = '']) => {
    if (!space.hash(key).has(field)) space.hash(key).set(field, value)
  },
  HINCRBY: addToHash,
  HINCRBYFLOAT: addToHash,
  HDEL: removeFrom('hash'),
  ZADD: addScores,
  ZINCRBY: (space, key, [by = '0', member = '']) =>
    void space.sorted(key).set(member, (space.sorted(key).get(member) ?? 0) + Number(by)),
  ZREM: removeFrom('sorted'),
  ZREMRANGEBYRANK: removeByRank,
  ZREMRANGEBYLEX: removeByLex,
  SET: setString,
  DEL: remove,
  UNLINK: remove,
  PEXPIREAT: (space, key, [at = '0']) => void space.expiries.set(key, Number(at)),
  PERSIST: (space, key) => void space.expiries.delete(key),
  RPUSH: marks,
  LPUSH: marks,
  LTRIM: marks,
  LREM: marks,
  RPOP: marks,
  LPOP: marks,
  SADD: marks,
  SREM: marks,
  INCR: marks,
  INCRBY: marks,
  XADD: marks,
  ZREMRANGEBYSCORE: () => undefined
}

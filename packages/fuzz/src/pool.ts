import type { WireAnswer, WireRequest } from './request.ts'

/** Values worth trying again, by name: given ones, and the ids that answers told of. */
export type Pool = {
  readonly values: (name: string) => readonly unknown[]
  /** Keeps the ids and names in an answer that succeeded. */
  readonly learn: (request: WireRequest, answer: WireAnswer) => void
}

const most = 40

export const createPool = (given: Readonly<Record<string, readonly unknown[]>>): Pool => {
  const learnt = new Map<string, unknown[]>()
  const keep = (name: string, value: unknown): void => {
    const values = learnt.get(name) ?? []
    if (values.includes(value)) return
    values.push(value)
    if (values.length > most) values.splice(Math.floor(most / 2), 1)
    learnt.set(name, values)
  }
  return {
    values: name => [...(given[name] ?? []), ...(learnt.get(name) ?? [])],
    learn: ({ target }, { status, headers, body }) => {
      if (status >= 300 || body.length === 0 || !headers['content-type']?.startsWith('application/json')) return
      const kind = /^\/api\/v1\/([^/?]+)/.exec(target)?.[1]
      const value = JSON.parse(body.toString('utf8')) as Record<string, unknown>
      for (const one of Array.isArray(value.data) ? value.data : [value]) {
        for (const [name, id] of Object.entries(one as object)) {
          if (!/^(id|name|fingerprint|nextCursor)$/.test(name) || typeof id !== 'string') continue
          keep(name === 'nextCursor' ? `${kind}.cursor` : `${kindOf(id) ?? kind}.${name}`, id)
        }
      }
    }
  }
}

/** Some ids say what they are of, wherever they turn up. */
const kindOf = (id: string): string | undefined => {
  const word = /^(task|group)_/.exec(id)?.[1]
  return word && `${word}s`
}

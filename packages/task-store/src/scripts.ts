import { readFileSync } from 'node:fs'
import type { Redis } from 'ioredis'
import { keyNames } from './keys.ts'
import { type Limits, scriptLimits } from './limits.ts'
import { linkScript } from './link-script.ts'

/** Each transition of the ledger, and the flags it runs under: only what a caller adds may be refused because memory is full. */
const scriptFlags = {
  enqueue: '',
  'keep-input': '',
  'forget-inputs': 'allow-oom',
  candidates: 'no-writes',
  nodes: 'no-writes',
  task: 'no-writes',
  claim: 'allow-oom',
  heartbeat: 'allow-oom',
  start: 'allow-oom',
  output: 'allow-oom',
  complete: 'allow-oom',
  fail: 'allow-oom',
  release: 'allow-oom',
  cancel: 'allow-oom',
  sweep: 'allow-oom',
  register: 'allow-oom',
  suspect: 'allow-oom',
  drain: 'allow-oom',
  pardon: 'allow-oom',
  presence: 'allow-oom',
  turn: 'allow-oom',
  meter: 'allow-oom',
  deliver: 'allow-oom',
  delivered: 'allow-oom',
  redeliver: 'allow-oom',
  'webhook-secret': 'allow-oom'
} as const

export type ScriptName = keyof typeof scriptFlags

/** Runs one script; the answer is as Redis gave it. Rejects when Redis is away or refuses. */
export type RunScript = (name: ScriptName, ...args: (string | number)[]) => Promise<unknown>

const read = (file: string): string => readFileSync(new URL(`../../scripts/${file}.lua`, import.meta.url), 'utf8')

/**
 * Loads the scripts into a client under one key prefix. Each is its own file with what it needs of the shared part; `defineCommand` sends it by digest and
 * loads it again when a restarted Redis has forgotten it. A Redis whose memory is full
 * refuses a script before it remembers it, so that the digest may stay unknown: then the text is sent. The prefix is the only declared key: every other has its hash tag.
 */
export const loadScripts = (redis: Redis, prefix: string, limits: Limits): RunScript => {
  const K = Object.fromEntries(Object.entries(keyNames).map(([name, text]) => [name, prefix + text]))
  const constants = { K, L: scriptLimits(limits) }
  const shared = read('ledger')
  const commands = new Map<ScriptName, { readonly command: string; readonly lua: string }>()
  for (const [name, flags] of Object.entries(scriptFlags) as [ScriptName, string][]) {
    const command = `ledger:${prefix}:${name}`
    const shebang = flags ? `#!lua flags=${flags}` : '#!lua'
    const lua = `${shebang}\n${linkScript(shared, read(name), constants)}`
    redis.defineCommand(command, { numberOfKeys: 1, lua })
    commands.set(name, { command, lua })
  }
  return async (name, ...args) => {
    const { command, lua } = commands.get(name)!
    const send = (redis as unknown as Record<string, (...args: (string | number)[]) => Promise<unknown>>)[command]!
    try {
      return await send.call(redis, prefix, ...args)
    } catch (error) {
      if (!(error instanceof Error && error.message.startsWith('NOSCRIPT'))) throw error
      return redis.eval(lua, 1, prefix, ...args)
    }
  }
}

import { readFileSync } from 'node:fs'
import { parseArgs } from 'node:util'
import type { Plan } from './rolling-restart.ts'

/** What the operator wants, and where. */
export type Command = { readonly url: string; readonly apiKey: string | undefined; readonly plan: Plan }

/** The arguments are wrong; the message says how. */
export class UsageError extends Error {}

export const usage = `use: npm run rolling-restart -- [--url http://127.0.0.1:8080] [--nodes gpu-a,gpu-b] [--at-once 1] [--canary workflow.json] [--minutes 30]
restarts the ComfyUI of every ready node, one after the other; each must run the canary workflow before the next one's turn
--minutes is how long one node may take: what it runs is finished first
with API keys: COMFY_API_KEY, or COMFY_API_KEY_FILE, of a key with nodes:read, nodes:write, tasks:read, tasks:write and workflows:raw`

const options = {
  url: { type: 'string', default: 'http://127.0.0.1:8080' },
  nodes: { type: 'string' },
  'at-once': { type: 'string', default: '1' },
  canary: { type: 'string' },
  minutes: { type: 'string', default: '30' }
} as const

/** Reads the words after `npm run rolling-restart --`. Throws a UsageError. */
export const readCommand = (words: readonly string[], env: NodeJS.ProcessEnv): Command => {
  const { url, nodes, canary, minutes, 'at-once': atOnce } = parse(words)
  if (!URL.canParse(url) || !/^https?:/.test(url)) throw new UsageError(`--url ${url} is not an http:// address`)
  return {
    url,
    apiKey: keyOf(env),
    plan: {
      nodes: nodes?.split(',').filter(id => id !== ''),
      atOnce: count('at-once', atOnce),
      canary: canary === undefined ? undefined : readWorkflow(canary),
      withinMs: count('minutes', minutes) * 60_000
    }
  }
}

const parse = (words: readonly string[]) => {
  try {
    return parseArgs({ args: [...words], options, strict: true }).values
  } catch (error) {
    throw new UsageError((error as Error).message)
  }
}

const count = (flag: string, text: string): number => {
  if (/^[1-9]\d{0,3}$/.test(text)) return Number(text)
  throw new UsageError(`--${flag} ${text} is not a number from 1 to 9999`)
}

const keyOf = ({ COMFY_API_KEY: key, COMFY_API_KEY_FILE: file }: NodeJS.ProcessEnv): string | undefined => {
  if (!file) return key || undefined
  if (key) throw new UsageError('COMFY_API_KEY is set together with COMFY_API_KEY_FILE; set one of them')
  try {
    return readFileSync(file, 'utf8').trim() || undefined
  } catch (error) {
    throw new UsageError(
      `COMFY_API_KEY_FILE names a file that cannot be read (${(error as NodeJS.ErrnoException).code})`
    )
  }
}

/** A workflow as ComfyUI exports it for its API, or a request with one as `prompt`. */
const readWorkflow = (path: string): Record<string, unknown> => {
  try {
    const read = JSON.parse(readFileSync(path, 'utf8')) as Record<string, unknown>
    const prompt = read.prompt ?? read
    if (typeof prompt === 'object' && prompt !== null) return prompt as Record<string, unknown>
  } catch (error) {
    throw new UsageError(`--canary ${path} cannot be read: ${(error as Error).message}`)
  }
  throw new UsageError(`--canary ${path} is not a workflow in API format`)
}

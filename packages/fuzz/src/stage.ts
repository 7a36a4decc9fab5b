import { execFileSync } from 'node:child_process'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createClient } from '@comfy-balancer/client/client'
import { putTemplate } from '@comfy-balancer/contract/endpoints/templates'
import type { Task } from '@comfy-balancer/contract/task'
import { startFleet } from '@comfy-balancer/local/fleet'
import { root } from '@comfy-balancer/local/root'

/** A whole fleet to be hard on: real services over a simulated ComfyUI, with keys, on a ledger of its own. */
export type Stage = {
  /** By name: the balancer, and the comfy-service that answers the same API for its node. */
  readonly urls: Readonly<Record<string, string>>
  /** Of a key that may do anything as often as it likes. */
  readonly authorization: string
  /** Of a key whose tenant is paused: its tasks wait until they are cancelled. */
  readonly paused: string
  /** Of a key whose tenant may call very seldom. */
  readonly limited: string
  /** It has succeeded and has an output. */
  readonly task: Task
  readonly close: () => Promise<void>
}

/** A workflow that any ComfyUI runs in no time. */
export const smallPrompt = {
  '1': { class_type: 'EmptyImage', inputs: { width: 64, height: 64, batch_size: 1, color: 255 } },
  '9': { class_type: 'SaveImage', inputs: { images: ['1', 0], filename_prefix: 'fuzz' } }
}

/** A template with one parameter, to be stored and used. */
export const smallTemplate = {
  name: 'fuzz_small',
  content: {
    input_schema: {
      type: 'object' as const,
      properties: { width: { type: 'integer' as const, minimum: 16, maximum: 128, default: 64 } }
    },
    prompt: smallPrompt,
    bindings: { width: '"1".inputs.width' }
  }
}

const readyMs = 60_000

export const openStage = async (redisUrl: string, env: Readonly<Record<string, string>> = {}): Promise<Stage> => {
  const prefix = `{fuzz-${process.pid}-${Date.now()}}:`
  const folder = await mkdtemp(join(tmpdir(), 'comfy-balancer-fuzz-'))
  const keys = (...words: string[]): string => runKeys({ redisUrl, prefix }, words)
  const makeKey = (tenant: string, scopes: string, limits: readonly string[]): string => {
    const key = keys('create', '--tenant', tenant, '--scopes', scopes)
    keys('limits', '--tenant', tenant, ...limits)
    return key
  }
  const unlimited = ['--per-minute', 'none', '--per-hour', 'none', '--max-queued', 'none']
  const apiKey = makeKey('fuzz', 'admin', unlimited)
  const pausedKey = makeKey('paused', 'admin', [...unlimited, '--max-running', '0'])
  const limitedKey = makeKey('limited', 'tasks:read,nodes:read', ['--per-minute', '2'])
  const fleet = await startFleet({
    ...{ redisUrl, folder, simulators: [{ speed: 10 }], timeScale: 0.01 },
    env: { REDIS_KEY_PREFIX: prefix, AUTH_MODE: 'keys', BODY_SECONDS: '5', ...env }
  })
  const close = async () => {
    await fleet.stop()
    await rm(folder, { recursive: true, force: true })
  }
  try {
    const url = fleet.balancerUrls[0]!
    const client = createClient({ baseUrl: url, apiKey })
    await client.call(putTemplate, { params: { name: smallTemplate.name }, body: smallTemplate.content })
    const { id } = await client.generate({ prompt: smallPrompt })
    const task = await client.wait(id, { timeoutMs: readyMs })
    if (task.outputs.length === 0) throw new Error(`${task.id} ${task.state}: ${task.error?.detail}`)
    const urls = { 'comfy-balancer': url, 'comfy-service': fleet.nodes[0]!.url }
    const [authorization, paused, limited] = [apiKey, pausedKey, limitedKey].map(key => `Bearer ${key}`) as Keys
    return { urls, task, authorization, paused, limited, close }
  } catch (error) {
    await close()
    throw error
  }
}

type Keys = [string, string, string]

type Place = { readonly redisUrl: string; readonly prefix: string }

const runKeys = ({ redisUrl, prefix }: Place, words: readonly string[]): string => {
  const { NODE_OPTIONS: _, ...inherited } = process.env
  const program = join(root, 'services/comfy-balancer/dist/src/keys/main.js')
  return execFileSync(process.execPath, [program, ...words], {
    env: { ...inherited, REDIS_URL: redisUrl, REDIS_KEY_PREFIX: prefix },
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'ignore']
  }).trim()
}

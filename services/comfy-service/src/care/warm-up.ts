import { randomUUID } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { cancelPrompt } from '@comfy-balancer/comfyui/cancel'
import { readRequest } from '@comfy-balancer/comfyui/graph'
import { admit } from '@comfy-balancer/domain/admission'
import { modelsOf } from '@comfy-balancer/domain/capability'
import type { Workflow } from '@comfy-balancer/domain/workflow'
import { ConfigError } from '@comfy-balancer/service-kit/config'
import type { Log } from '@comfy-balancer/service-kit/log'
import { execute } from '../attempt/execution.ts'
import { outcomeOf } from '../attempt/outcome.ts'
import type { ComfyUi } from '../comfyui.ts'
import type { ComfyUiFolders } from '../comfyui-folders.ts'
import type { Residency } from '../residency.ts'

/** A workflow that ComfyUI must have run before it is given tasks, and how long that may take; `silentMs` without a sign of life is a failure too. */
export type WarmUp = {
  readonly body: string
  readonly workflow: Workflow
  readonly timeoutMs: number
  readonly silentMs: number
  readonly cancelMs: number
}

export type WarmUpDeps = {
  readonly comfyui: ComfyUi
  readonly folders: ComfyUiFolders | undefined
  readonly residency: Residency
  readonly log: Log
}

/** Reads COMFYUI_WARM_UP: a workflow as ComfyUI exports it for its API, or a request with one as `prompt`. Throws a ConfigError. */
export const readWarmUpFile = (path: string): Pick<WarmUp, 'body' | 'workflow'> => {
  const refuse = (why: string) => new ConfigError([{ name: 'COMFYUI_WARM_UP', message: `${path}: ${why}` }])
  let text: string
  try {
    text = readFileSync(path, 'utf8')
  } catch (error) {
    throw refuse(`cannot be read (${(error as NodeJS.ErrnoException).code})`)
  }
  const [asRequest, asGraph] = [text, `{"prompt":${text}}`].map(body => ({ body, read: readRequest(body) }))
  for (const one of [asRequest, asGraph]) {
    if (one && 'workflow' in one.read) return { body: one.body, workflow: one.read.workflow }
  }
  const flaw = asGraph && 'flaws' in asGraph.read ? asGraph.read.flaws[0] : undefined
  throw refuse(`must be a workflow in API format: ${flaw?.detail ?? 'it is not'}`)
}

/** Why a warm-up gave nothing; `isPassing` when ComfyUI lost it or hung, so that another try may go well. */
export type WarmUpFailure = { readonly reason: string; readonly isPassing: boolean }

const lasting = (reason: string): WarmUpFailure => ({ reason, isPassing: false })

/** Runs the workflow under a prompt id of its own; why it failed, or nothing. Its outputs are thrown away. */
export const runWarmUp = async (
  warmUp: WarmUp,
  promptId: string,
  deps: WarmUpDeps,
  signal: AbortSignal
): Promise<WarmUpFailure | undefined> => {
  const { comfyui, folders, residency, log } = deps
  const { body, workflow, timeoutMs, silentMs } = warmUp
  const capability = comfyui.catalog()?.capability
  if (!capability) return { reason: 'ComfyUI has not told what it can run', isPassing: true }
  const admitted = admit(workflow, {}, [{ id: 'self', labels: {}, capability }])
  if (admitted.kind !== 'admitted') return lasting(admitted.flaws[0]?.detail ?? 'ComfyUI cannot run it')
  const { outputs, need } = admitted.admission
  const token = `warm-up-${randomUUID()}`
  const execution = { promptId, token, body, workflow, inputs: new Map(), outputs, timeoutMs, silentMs, signal }
  const verdict = await execute(execution, false, { comfyui, log }, () => undefined)
  if (mayStillRun.has(verdict.kind))
    await cancelPrompt({ http: comfyui.http }, promptId, { deadlineMs: warmUp.cancelMs })
  comfyui.forget(promptId)
  await folders?.removeOutputs(token).catch(err => log.warn({ err }, 'files of comfyui not removed'))
  if (verdict.kind === 'timed-out') return lasting(`it took longer than ${timeoutMs / 1_000} s`)
  if (verdict.kind !== 'succeeded')
    return { reason: wordsOf(outcomeOf(verdict)), isPassing: verdict.kind === 'lost' || verdict.kind === 'stuck' }
  residency.ran(modelsOf(need))
  return undefined
}

const mayStillRun: ReadonlySet<string> = new Set(['stuck', 'timed-out', 'abandoned'])

const wordsOf = (outcome: ReturnType<typeof outcomeOf>): string => {
  if (outcome.kind === 'retry') return outcome.why
  return outcome.kind === 'failed' ? outcome.problem.detail : 'it was broken off'
}

import { submission } from '@comfy-balancer/comfyui/graph'
import { adoptPrompt, runPrompt } from '@comfy-balancer/comfyui/prompt'
import type { PromptEvent } from '@comfy-balancer/comfyui/relay'
import type { Verdict } from '@comfy-balancer/comfyui/verdict'
import type { Workflow } from '@comfy-balancer/domain/workflow'
import type { Log } from '@comfy-balancer/service-kit/log'
import type { ComfyUi } from '../comfyui.ts'
import { ownFolder } from '../comfyui-folders.ts'
import { mergedValues } from '../inputs/merged-values.ts'
import type { InputValues } from '../inputs/prepare-inputs.ts'
import { marksOf, spellingsOf } from './submission-edits.ts'

/** A workflow to run on ComfyUI; `body` is the request as it came, `outputs` are its output graph nodes. */
export type Execution = {
  readonly promptId: string
  readonly token: string
  readonly body: string
  readonly workflow: Workflow
  /** What stands in place of the URLs that the caller gave. */
  readonly inputs: InputValues
  readonly outputs: readonly string[]
  readonly timeoutMs: number
  /** Nothing heard and nothing changed for so long counts as a hang. */
  readonly silentMs: number
  readonly signal: AbortSignal
}

/** Posts the workflow, or finds the prompt that an earlier life of this service posted, and follows it to its verdict. */
export const execute = async (
  execution: Execution,
  adopt: boolean,
  { comfyui, log }: { readonly comfyui: ComfyUi; readonly log: Log },
  listen: (event: PromptEvent) => void
): Promise<Verdict> => {
  const { promptId, workflow, outputs, timeoutMs, silentMs, signal } = execution
  const order = { promptId, workflow, outputs, timeoutMs, signal, patience: { silentMs } }
  const deps = { http: comfyui.http, observer: comfyui.observer, log }
  if (!adopt) return runPrompt(deps, { ...order, text: clientId => textOf(execution, comfyui, clientId) }, listen)
  const verdict = await adoptPrompt(deps, order, listen)
  return verdict ?? { kind: 'lost', reason: 'vanished', detail: 'ComfyUI does not know the prompt any more' }
}

const textOf = (
  { body, workflow, inputs, promptId, token, outputs }: Execution,
  comfyui: ComfyUi,
  clientId: string
): string => {
  const capability = comfyui.catalog()?.capability
  return submission(body, {
    promptId,
    clientId,
    prefix: `${ownFolder}/${token}`,
    marks: marksOf(workflow, outputs),
    values: capability ? mergedValues(spellingsOf(workflow, capability), inputs) : inputs
  })
}

import type { PromptEvent } from '@comfy-balancer/comfyui/relay'
import type { Log } from '@comfy-balancer/service-kit/log'
import type { Hints } from '@comfy-balancer/task-store/hints'
import { createTeller, type Teller } from './teller.ts'

type Preview = Extract<PromptEvent, { type: 'preview' }>

const gapMs = 500
/** ComfyUI's own previews are far smaller; what is larger is not shown. */
const maxBytes = 262_144

/** Shows the latest of an attempt's previews to those who asked for them. */
export const createPreviewTeller = (task: string, hints: Hints, log: Log): Teller<Preview> => {
  const show = async ({ graphNode, mediaType, bytes }: Preview): Promise<void> => {
    if (bytes.length > maxBytes) return
    await hints.preview(task, { graphNode: graphNode ?? null, mediaType, data: bytes.toString('base64') })
  }
  return createTeller(gapMs, show, log)
}

import type { GenerateRequest } from '@comfy-balancer/contract/generate'
import { timeScale } from '../rig/rig.ts'
import { poisonClass } from '../rig/simulator.ts'

/** What a caller asks for: a picture after a while, one that fails, or one that takes ComfyUI down. */
export type WorkflowKind = 'picture' | 'faulty' | 'poison'

/** What is asked for: how long it occupies a GPU, and what the caller wants beside the picture. */
export type Wish = {
  readonly kind: WorkflowKind
  readonly ms: number
  readonly timeoutSeconds?: number
  readonly deadlineSeconds?: number
  readonly priority?: number
}

/** The request for a wish; `key` is the caller's mark, and makes the picture unlike any other; poison is always the same. */
export const aRequest = ({ kind, ms, timeoutSeconds = 20, ...rest }: Wish, key: string): GenerateRequest => ({
  ...rest,
  metadata: { chaos: key },
  timeoutSeconds,
  prompt: {
    '1': {
      class_type: 'EmptyImage',
      inputs: { width: 64, height: 48, batch_size: 1, color: colorOf(kind === 'poison' ? kind : key) }
    },
    '2': { class_type: 'TestSleep', inputs: { value: ['1', 0], seconds: ms / 1_000 / timeScale } },
    ...(kind === 'poison' ? { '3': { class_type: poisonClass, inputs: { image: ['2', 0] } } } : {}),
    ...(kind === 'faulty' ? { '4': { class_type: 'TestSyncError', inputs: { value: ['2', 0] } } } : {}),
    '9': {
      class_type: 'SaveImage',
      inputs: { images: [kind === 'poison' ? '3' : kind === 'faulty' ? '4' : '2', 0], filename_prefix: `out/${key}` }
    }
  }
})

const colorOf = (key: string): number => {
  let color = 0
  for (const char of key) color = (color * 31 + (char.codePointAt(0) ?? 0)) % 0xffffff
  return color
}

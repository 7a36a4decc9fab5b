import type { Workflow } from '@comfy-balancer/domain/workflow'
import { createImages } from './images.ts'
import type { Log } from './log.ts'
import type { ComfyUiEvent } from './messages.ts'
import { createProgress, type Progress } from './progress.ts'
import type { Unchecked } from './record.ts'
import type { Sighting } from './sighting.ts'

/** What the one who runs a prompt learns while it runs. All but `started` may be missing when ComfyUI's events get lost. */
export type PromptEvent =
  | { readonly type: 'started' }
  | { readonly type: 'cached'; readonly graphNodes: readonly string[] }
  | { readonly type: 'executing'; readonly graphNode: string }
  | ({ readonly type: 'progress' } & Progress)
  | { readonly type: 'executed'; readonly graphNode: string; readonly output: Unchecked }
  | { readonly type: 'log'; readonly text: string }
  | {
      readonly type: 'preview'
      readonly graphNode: string | undefined
      readonly mediaType: string
      readonly bytes: Buffer
    }

/** Turns sightings of one prompt into what its runner is told, and keeps the images that come only this way. */
export const createRelay = (
  { workflow, outputs }: { readonly workflow: Workflow; readonly outputs: readonly string[] },
  listener: (event: PromptEvent) => void,
  log: Log
) => {
  const progress = createProgress(workflow, outputs)
  const images = createImages(outputs)
  let isStarted = false
  let markEnded: () => void = () => {}
  const ended = new Promise<void>(resolve => {
    markEnded = resolve
  })

  const tell = (event: PromptEvent): void => {
    try {
      listener(event)
    } catch (err) {
      log.warn({ err }, 'prompt listener failed')
    }
  }

  const start = (): void => {
    if (isStarted) return
    isStarted = true
    tell({ type: 'started' })
  }

  const seeEvent = (event: ComfyUiEvent): void => {
    if (event.type === 'image') {
      const graphNode = event.graphNode ?? progress.current()
      if (images.take(event, graphNode)) return
      tell({ type: 'preview', graphNode, mediaType: event.mediaType, bytes: event.bytes })
      return
    }
    if (event.type === 'log') {
      tell({ type: 'log', text: event.text })
      return
    }
    start()
    if (event.type === 'ended') markEnded()
    const now = progress.see(event)
    if (event.type === 'cached') tell({ type: 'cached', graphNodes: event.graphNodes })
    if (event.type === 'executing') tell({ type: 'executing', graphNode: event.graphNode })
    if (event.type === 'executed') tell({ type: 'executed', graphNode: event.graphNode, output: event.output })
    if (now) tell({ type: 'progress', ...now })
  }

  return {
    images,
    /** Resolves when ComfyUI has sent all it sends about the prompt. */
    ended,
    see: (sighting: Sighting): void => {
      if (sighting.kind === 'event') seeEvent(sighting.event)
      if (sighting.kind === 'finished' || (sighting.kind === 'look' && sighting.place === 'running')) start()
    }
  }
}

import type { Sighting } from './sighting.ts'
import type { SubmitOutcome } from './submit.ts'
import type { Verdict } from './verdict.ts'

/** How long a prompt may be in a state that is probably, but not certainly, its last; in ms. */
export type Patience = {
  /** Neither in the queue nor in history. History can be late, a look can be unlucky. */
  readonly vanishedMs: number
  /** The same, when events told that it ended: history must come. */
  readonly lateHistoryMs: number
  /** No answer of any kind. */
  readonly unreachableMs: number
  /** Connection refused. */
  readonly refusedMs: number
  /** ComfyUI has work and runs none of it. */
  readonly deadWorkerMs: number
  /** No event and no change in the queue. Loading a large model is silent for minutes. */
  readonly silentMs: number
  /** Over, but the POST is not answered yet: its answer may still tell that only a part was accepted. */
  readonly answerMs: number
  /** Succeeded, but images that come only over the WebSocket may be missing. */
  readonly imagesMs: number
}

export const defaultPatience: Patience = {
  vanishedMs: 1500,
  lateHistoryMs: 10_000,
  unreachableMs: 30_000,
  refusedMs: 500,
  deadWorkerMs: 10_000,
  silentMs: 300_000,
  answerMs: 5000,
  imagesMs: 2000
}

/** A condition that must hold, look after look, for some time before it is believed. */
const createSpell = () => {
  let sinceMs: number | undefined
  let looks = 0
  return {
    end: () => {
      sinceMs = undefined
      looks = 0
    },
    /** Whether it has now held for `ms` and at least two looks. */
    lasts: (nowMs: number, ms: number): boolean => {
      sinceMs ??= nowMs
      looks++
      return looks > 1 && nowMs - sinceMs >= ms
    },
    get isOn() {
      return sinceMs !== undefined
    }
  }
}

/** A POST that failed may still be worked off. */
const lateAnswerFactor = 3

type Look = Extract<Sighting, { kind: 'look' }>

/**
 * Judges from sightings whether a prompt is lost or stuck; it knows no clock and does no I/O. A finished prompt is not its matter.
 * Before `posted` or `found` tells that ComfyUI was asked to run the prompt, its absence means nothing.
 */
export const createWatch = (patience: Patience, startMs: number) => {
  const absent = createSpell()
  const refused = createSpell()
  const unreachable = createSpell()
  const deadWorker = createSpell()
  let expectedSinceMs: number | undefined
  let post: SubmitOutcome | undefined
  let wasRefused = false
  let isEnding = false
  let changedAtMs = startMs
  let lastLook = ''

  const lost = (reason: Extract<Verdict, { kind: 'lost' }>['reason'], detail: string): Verdict => ({
    kind: 'lost',
    reason,
    detail
  })

  const absencePatienceMs = (): number => {
    if (isEnding) return patience.lateHistoryMs
    return post?.kind === 'failed' ? patience.vanishedMs * lateAnswerFactor : patience.vanishedMs
  }

  const vanished = (): Verdict => {
    if (wasRefused) return lost('restart', 'ComfyUI was restarted and does not know the prompt any more')
    if (post?.kind === 'failed') return lost('not-accepted', post.detail)
    return lost('vanished', 'ComfyUI has the prompt neither in its queue nor in its history')
  }

  const seeLook = (look: Look, nowMs: number): Verdict | undefined => {
    refused.end()
    unreachable.end()
    const now = `${look.place} ${look.running} ${look.pending}`
    if (now !== lastLook) changedAtMs = nowMs
    lastLook = now
    if (look.place === 'absent') {
      if (expectedSinceMs === undefined || look.askedAtMs < expectedSinceMs) return undefined
      return absent.lasts(nowMs, absencePatienceMs()) ? vanished() : undefined
    }
    absent.end()
    if (look.running > 0) deadWorker.end()
    else if (deadWorker.lasts(nowMs, patience.deadWorkerMs)) {
      return { kind: 'stuck', reason: 'dead-worker', detail: 'ComfyUI has work in its queue and runs none of it' }
    }
    if (nowMs - changedAtMs < patience.silentMs) return undefined
    return { kind: 'stuck', reason: 'silent', detail: `Nothing changed for ${patience.silentMs} ms` }
  }

  return {
    /** The POST was answered, or failed, at `nowMs`. */
    posted: (outcome: SubmitOutcome, nowMs: number): void => {
      post = outcome
      expectedSinceMs = nowMs
    },
    /** The prompt is known to have been in ComfyUI's queue. */
    found: (nowMs: number): void => {
      expectedSinceMs = nowMs
    },
    /** Whether a look found nothing, so that the next should follow soon. */
    isDoubtful: (): boolean => absent.isOn || refused.isOn,
    see: (sighting: Sighting, nowMs: number): Verdict | undefined => {
      if (sighting.kind === 'event') {
        changedAtMs = nowMs
        if (sighting.event.type === 'ending' || sighting.event.type === 'ended') isEnding = true
        return undefined
      }
      if (sighting.kind === 'look') return seeLook(sighting, nowMs)
      if (sighting.kind === 'finished') return undefined
      if (sighting.refused) wasRefused = true
      else refused.end()
      if (sighting.refused && refused.lasts(nowMs, patience.refusedMs)) {
        return lost(expectedSinceMs === undefined ? 'unreachable' : 'died', sighting.detail)
      }
      return unreachable.lasts(nowMs, patience.unreachableMs) ? lost('unreachable', sighting.detail) : undefined
    }
  }
}

export type Watch = ReturnType<typeof createWatch>

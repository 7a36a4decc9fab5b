import t from 'tap'
import { readRequest } from '../src/graph.ts'
import { createComfyUiHttp } from '../src/http.ts'
import { createObserver } from '../src/observer.ts'
import { runPrompt } from '../src/prompt.ts'
import type { Verdict } from '../src/verdict.ts'
import { createReplay, type RecordedPost, type Recording, readRecordings } from './replay.ts'

const log = { debug: () => {}, info: () => {}, warn: () => {} }
const patience = { silentMs: 4000, deadWorkerMs: 1500, vanishedMs: 1500, refusedMs: 300, unreachableMs: 3000 }

const outcomeOf = (verdict: Verdict): string => {
  if (verdict.kind === 'succeeded') return 'success'
  if (verdict.kind === 'execution-error') return 'error'
  if (verdict.kind === 'lost') return verdict.reason === 'vanished' ? 'deleted' : 'lost'
  return verdict.kind
}

const workflowOf = (prompt: unknown) => {
  const read = readRequest(JSON.stringify({ prompt }))
  return 'workflow' in read ? read.workflow : { graphNodes: new Map() }
}

/** What the recording's index says, but for answers that we take for a refusal and it does not. */
const expectedOf = (recording: Recording, { promptId, status, index }: RecordedPost): string | undefined => {
  if (status === 400 || status === 413) return 'rejected'
  const answer = recording.lines.slice(index).find(line => line.dir === 'http-response' && line.path === '/prompt')
  const body = answer?.body as { node_errors?: object } | undefined
  if (status === 200 && Object.keys(body?.node_errors ?? {}).length > 0) return 'rejected'
  return recording.prompts[promptId] ?? (status === 200 ? undefined : 'lost')
}

const play = async (recording: Recording) => {
  const replay = await createReplay(recording)
  const http = createComfyUiHttp({ url: replay.url, submitTimeoutMs: 5000 })
  const observer = createObserver(
    { url: replay.url, clientId: 'test', quietMs: 200, livelyMs: 400, idleMs: 1000 },
    { http, log }
  )
  const active = new Set<string>()
  const verdicts: Promise<{ post: RecordedPost; verdict: Verdict; percents: number[] }>[] = []
  const run = async (post: RecordedPost) => {
    const percents: number[] = []
    const workflow = workflowOf(post.prompt)
    const outputs = [...workflow.graphNodes.values()]
      .filter(node => /Save|Preview/.test(node.classType))
      .map(({ id }) => id)
    const order = { promptId: post.promptId, workflow, outputs, patience, timeoutMs: 20_000 }
    const verdict = await runPrompt(
      { http, observer, log },
      { ...order, text: () => JSON.stringify({ index: post.index }) },
      event => {
        if (event.type === 'progress') percents.push(event.percent)
      }
    )
    active.delete(post.promptId)
    return { post, verdict, percents }
  }
  try {
    await replay.play(post => {
      if (active.has(post.promptId)) return false
      active.add(post.promptId)
      verdicts.push(run(post))
      return true
    })
    return await Promise.all(verdicts)
  } finally {
    await observer.close()
    await http.close()
    await replay.close()
  }
}

type Result = {
  readonly post: RecordedPost
  readonly found: string
  readonly expected: string | undefined
  readonly isSteady: boolean
}

const judged = async (recording: Recording): Promise<Result[]> =>
  (await play(recording)).map(({ post, verdict, percents }) => ({
    post,
    found: outcomeOf(verdict),
    expected: expectedOf(recording, post),
    isSteady: percents.every((percent, at) => percent <= 99 && percent >= (percents[at - 1] ?? 0))
  }))

const isRight = ({ found, expected }: Result): boolean => expected?.split('|').includes(found) === true

/** The prompts of the index whose every POST ended as it should. */
const rightOf = ({ prompts }: Recording, results: readonly Result[]): number =>
  Object.keys(prompts).filter(id => {
    const own = results.filter(({ post }) => post.promptId === id)
    return own.length > 0 && own.every(isRight)
  }).length

t.setTimeout(60_000)

const lanes = 8
const recordings = [...readRecordings()]
const total = recordings.reduce((sum, [, { prompts }]) => sum + Object.keys(prompts).length, 0)

t.test('every verdict on a recorded prompt is the one of the index', async t => {
  const waiting = recordings.values()
  let right = 0
  const lane = async (): Promise<void> => {
    for (const [name, recording] of waiting) {
      const results = await judged(recording)
      right += rightOf(recording, results)
      for (const result of results) {
        const { post, found, expected } = result
        t.ok(isRight(result), `${name}: ${post.promptId} ${found}, expected ${expected}`)
        t.ok(result.isSteady, `${name}: progress never decreases`)
      }
    }
  }
  await Promise.all(Array.from({ length: lanes }, lane))
  t.comment(`verdicts: right ${right} of ${total}`)
  t.equal(right, total)
})

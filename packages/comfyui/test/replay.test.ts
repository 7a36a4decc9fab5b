import t from 'tap'
import { readRequest } from '../src/graph.ts'
import { createComfyUiHttp } from '../src/http.ts'
import { createObserver } from '../src/observer.ts'
import { runPrompt } from '../src/prompt.ts'
import type { Verdict } from '../src/verdict.ts'
import { createReplay, type RecordedPost, type Recording, readBundle, readFolder } from './replay.ts'

const folder = process.env.COMFYUI_RECORDINGS
const recordings = folder
  ? readFolder(folder)
  : readBundle(new URL('../../test/data/recordings.json.gz', import.meta.url))
const log = { debug: () => {}, info: () => {}, warn: () => {} }
const patience = { silentMs: 1500, deadWorkerMs: 600, vanishedMs: 600, refusedMs: 300, unreachableMs: 3000 }

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

t.setTimeout(110_000)

for (const [name, recording] of recordings) {
  if (process.env.SCENARIO && !name.startsWith(process.env.SCENARIO)) continue
  t.test(`the verdicts of recording ${name} are those of its index`, async t => {
    for (const { post, verdict, percents } of await play(recording)) {
      const expected = expectedOf(recording, post)
      const found = outcomeOf(verdict)
      t.ok(expected?.split('|').includes(found), `${post.promptId}: ${found}, expected ${expected}`)
      t.ok(
        percents.every((percent, at) => percent <= 99 && percent >= (percents[at - 1] ?? 0)),
        'progress never decreases'
      )
    }
  })
}

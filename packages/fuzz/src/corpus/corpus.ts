import { createSender, type Sender } from '../send.ts'
import type { Stage } from '../stage.ts'
import { brokenFault, brokenHttp, sendBytes } from './broken-http.ts'
import { type HostileCase, hostileFault, toGenerate, toGet } from './hostile.ts'
import { hostileBodies } from './hostile-bodies.ts'
import { hostileNames, hostilePrefixes } from './hostile-names.ts'
import { astrayUrls, blockedUrls, loadingFrom } from './hostile-urls.ts'
import type { Traps } from './traps.ts'

/** What came of one corpus. */
export type CorpusResult = { readonly name: string; readonly tried: number; readonly faults: readonly string[] }

/** Sends the fixed corpora to every service of a stage that was opened with the traps' environment. */
export const runCorpora = async (stage: Stage, traps: Traps): Promise<CorpusResult[]> => [
  await refusedByEach('bodies', stage, hostileBodies()),
  await refusedByEach('names', stage, hostileNames(stage.task.id)),
  await keptInside(stage),
  await brokenForEach(stage),
  await refusedByEach('URLs refused at once', stage, blockedUrls(traps)),
  await ledAstray(stage, traps)
]

type Check = (sender: Sender) => Promise<string | undefined>

/** Something is wrong with the whole service then, and the others need not be waited for. */
const maxFaults = 20

const runChecks = async (name: string, url: string, checks: readonly Check[]): Promise<CorpusResult> => {
  const sender = createSender(url)
  const faults: string[] = []
  for (const check of checks) {
    const fault = await check(sender).catch((error: Error) => error.message)
    if (fault !== undefined) faults.push(fault)
    if (faults.length === maxFaults) break
  }
  sender.close()
  return { name, tried: checks.length, faults }
}

const refusedByEach = async (name: string, stage: Stage, cases: readonly HostileCase[]): Promise<CorpusResult> => {
  const checks = cases.map(
    (one): Check =>
      async sender => {
        const headers = { authorization: stage.authorization, ...one.request.headers }
        const answer = await sender.send({ ...one.request, headers }).catch(error => cutOff(one, error))
        return answer && hostileFault(one, answer)
      }
  )
  const each = await Promise.all(Object.values(stage.urls).map(url => runChecks(name, url, checks)))
  return { name, tried: each.reduce((sum, { tried }) => sum + tried, 0), faults: each.flatMap(one => one.faults) }
}

/** Whoever still sends what was refused for its size may find the connection closed before the answer has been read. */
const cutOff = ({ status }: HostileCase, error: NodeJS.ErrnoException): undefined => {
  if (status !== 413 || !/^(EPIPE|ECONNRESET)$/.test(error.code ?? '')) throw error
}

const brokenForEach = async ({ urls, authorization }: Stage): Promise<CorpusResult> => {
  const told = Object.values(urls).flatMap(url =>
    brokenHttp(authorization).map(one =>
      sendBytes(url, one.bytes).then(
        text => brokenFault(one, text),
        (error: Error) => `${one.what}: ${error.message}`
      )
    )
  )
  const faults = (await Promise.all(told)).filter(fault => fault !== undefined)
  return { name: 'broken HTTP', tried: told.length, faults }
}

type Ended = {
  readonly state: string
  readonly error: { readonly code: string; readonly detail: string } | null
  readonly outputs: readonly { readonly url: string; readonly filename: string }[]
}

/** Such tasks may run; their outputs are then where outputs are, under a plain name that breaks no header. */
const keptInside = ({ urls, authorization }: Stage): Promise<CorpusResult> => {
  const checks = hostilePrefixes.map(
    (body): Check =>
      async sender => {
        const request = toGenerate(JSON.stringify(body), { authorization, prefer: 'wait=20' })
        const { status, body: answer } = await sender.send(request)
        const { state, outputs } = JSON.parse(answer.toString('utf8')) as Ended
        if (status === 422) return undefined
        const [output] = outputs ?? []
        const shown = `${JSON.stringify(body).slice(-80)}: ${status} ${state} ${output?.filename}`
        if (status !== 202 || state !== 'succeeded' || !output) return shown
        const fetched = await sender.send({ ...toGet(output.url), headers: { authorization } })
        const disposition = fetched.headers['content-disposition'] ?? ''
        const isPlain = !/[/\\\r\n]/.test(output.filename) && /^[\x20-\x7e]+$/.test(disposition)
        return fetched.status === 200 && isPlain && !fetched.headers['x-injected']
          ? undefined
          : `${shown} ${disposition}`
      }
  )
  return runChecks('output names (kept inside)', urls['comfy-balancer']!, checks)
}

/** These are accepted, and fail when they are fetched: the caller learns no more than that. */
const ledAstray = async ({ urls, authorization }: Stage, traps: Traps): Promise<CorpusResult> => {
  const checks = astrayUrls(traps).map(
    (url): Check =>
      async sender => {
        const request = loadingFrom(url)
        const { status, body } = await sender.send({ ...request, headers: { ...request.headers, authorization } })
        const { state, error } = JSON.parse(body.toString('utf8')) as Ended
        if (status !== 202 || state !== 'failed' || error?.code !== 'input-unavailable')
          return `${url}: ${status} ${state} ${error?.code}`
        return /\d+\.\d+\.\d+|ECONN|::/.test(error.detail) ? `${url} tells too much: ${error.detail}` : undefined
      }
  )
  const result = await runChecks('URLs that lead astray', urls['comfy-balancer']!, checks)
  const caught = traps.caught.map(what => `the victim was asked for ${what}`)
  return { ...result, faults: [...result.faults, ...caught] }
}

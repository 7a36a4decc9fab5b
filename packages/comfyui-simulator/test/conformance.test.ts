import t from 'tap'
import { conform, isDecisive } from '../src/conformance/conformance.ts'
import { judge } from '../src/conformance/judge.ts'
import { plant } from '../src/conformance/planted.ts'
import { type Recording, readRecordings } from '../src/conformance/recordings.ts'
import { Substitutions } from '../src/conformance/substitutions.ts'
import { endedPrompt, messageData, messageType, type TraceLine } from '../src/conformance/trace.ts'
import { isObject, type JsonObject } from '../src/json/python-json.ts'

const leastMatched = 70
const recordings = readRecordings()
const named = (name: string): Recording => recordings.find(recording => recording.name.startsWith(name))!

/** Judges a trace as if it had been replayed. */
const judged = (recording: Recording, lines: TraceLine[]) => {
  const outcomes = Object.fromEntries(
    Object.entries(recording.prompts).map(([id, outcome]) => [id, outcome.split('|')[0]!])
  )
  return judge(recording, { lines, missed: [], substitutions: new Substitutions(1, 1) }, outcomes)
}

/** A recording with each line changed, left out (nothing) or kept (the same line). */
const changed = (name: string, change: (line: TraceLine, index: number) => TraceLine | undefined) => {
  const recording = named(name)
  const lines = recording.lines.map(change).filter(line => line !== undefined)
  return judged(recording, lines)
}

const withBody = (line: TraceLine, change: (body: JsonObject) => JsonObject): TraceLine =>
  isObject(line.body) ? { ...line, body: change(line.body) } : line

/** A recording in which the first line that fits has gone to the place after the next one that fits. */
const moved = (name: string, what: (line: TraceLine) => boolean, behind: (line: TraceLine) => boolean) => {
  const recording = named(name)
  const from = recording.lines.findIndex(what)
  const to = recording.lines.findIndex((line, index) => index > from && behind(line))
  const lines = [...recording.lines]
  lines.splice(to, 0, ...lines.splice(from, 1))
  return judged(recording, lines)
}

t.setTimeout(100_000)

t.test('the comparison calls every recording the same as itself', async t => {
  for (const recording of recordings) {
    const { isMatch, isIdentical, reasons } = judged(recording, recording.lines)
    t.ok(isMatch && isIdentical, `${recording.name} ${reasons}`)
  }
})

t.test('the comparison notices whatever matters to a client', async t => {
  const isOf = (type: string, conn: string) => (line: TraceLine) => line.conn === conn && messageType(line) === type
  const runs = (node: string) => (line: TraceLine) =>
    messageType(line) === 'executing' && messageData(line).node === node
  const wrong = [
    changed('01-success', line => (endedPrompt(line) ? undefined : line)),
    changed('01-success', line => (line.req === 3 ? { ...line, status: 404 } : line)),
    changed('01-success', line => (isOf('status', 'B')(line) ? { ...line, conn: 'A' } : line)),
    changed('01-success', line => (isOf('executed', 'A')(line) ? { ...line, conn: 'B' } : line)),
    changed('06-save', line => (line.event === 4 ? { ...line, event: 1 } : line)),
    changed('16-validation', line =>
      withBody(line, body => (isObject(body.error) ? { ...body, error: { ...body.error, type: 'other' } } : body))
    ),
    changed('16-validation', line =>
      withBody(line, body =>
        isObject(body.error) ? { ...body, error: { ...body.error, extra_info: { a: 1 } } } : body
      )
    ),
    changed('18-history', line => (line.path?.includes('/history?') ? withBody(line, () => ({ a: {} })) : line)),
    changed('22a-uploads', line => ({ ...line, headers: { ...line.headers, 'X-Other': '1' } })),
    changed('25-origin', line => (line.dir === 'ws-open' ? { ...line, status: 101 } : line)),
    moved('01-success', runs('2'), isOf('execution_success', 'A')),
    moved('01-success', isOf('status', 'A'), line => endedPrompt(line) !== undefined),
    moved('34-parallel', runs('1'), isOf('execution_success', 'A')),
    moved('38-two-clients', isOf('execution_start', 'A'), isOf('execution_success', 'A'))
  ]
  for (const [index, judgement] of wrong.entries()) t.notOk(judgement.isMatch, `${index} ${judgement.name}`)
})

t.test('the comparison forgives what the README calls not stable', async t => {
  const { lines } = named('11-interrupt-global')
  const isQueued = (line: TraceLine) => line.conn === 'A' && messageType(line) === 'status'
  const late = lines.findIndex((line, index) => isQueued(line) && isQueued(lines[index - 1]!) === false && index > 10)
  const shifted = [...lines]
  shifted.splice(late + 1, 0, ...shifted.splice(late, 1))
  t.ok(judged(named('11-interrupt-global'), shifted).isMatch, 'a status caused by a POST falls a line later')
})

t.test('the simulator is the same as ComfyUI 0.3.64 wherever decisions rest on it', async t => {
  const judgements = await conform(recordings)
  const matched = judgements.filter(({ isMatch }) => isMatch).length
  t.comment(`matched ${matched} of ${recordings.length}`)
  t.ok(matched >= leastMatched, `${matched} matched`)
  for (const { name, isMatch, reasons } of judgements) {
    if (isDecisive(name)) t.ok(isMatch, `${name} ${reasons}`)
    else if (!isMatch) t.comment(`${name}: ${reasons[0]}`)
  }
})

t.test('the conformance notices every planted deviation', async t => {
  const results = await plant(recordings)
  t.equal(results.length, 5)
  for (const { deviation, total, matched, matchedWithout } of results) {
    t.equal(matchedWithout, total, `${deviation} not planted`)
    t.ok(matched < matchedWithout, `${deviation} is noticed: ${matched} of ${total} match`)
  }
})

import { deepStrictEqual } from 'node:assert/strict'
import { emptyModel, type LedgerModel } from '@comfy-balancer/domain/ledger-model/model'
import { transitions } from '@comfy-balancer/domain/task-state'
import fc from 'fast-check'
import type { HeldLedger } from '../../src/scratch-ledger.ts'
import { acceptingCommands } from './accepting-commands.ts'
import { attemptCommands } from './attempt-commands.ts'
import type { Call, Draft } from './command.ts'
import { expectedDump, readDump } from './dump.ts'
import { nodeCommands, registration } from './node-commands.ts'

/** After some time, a command, sent once or twice; or an earlier one that arrives again, late. */
export type Turn = {
  readonly waitMs: number
  readonly draft: Draft
  readonly twice: boolean
  readonly late: number | undefined
}

const waits = fc.oneof(
  { weight: 12, arbitrary: fc.constant(0) },
  { weight: 4, arbitrary: fc.constantFrom(1, 400, 1_000) },
  { weight: 3, arbitrary: fc.constantFrom(2_999, 3_000, 4_000, 5_000, 5_001) },
  { weight: 1, arbitrary: fc.constantFrom(15_001, 60_000) }
)

/** Sequences of turns, long enough for several attempts of several tasks. */
export const turns = fc.array(
  fc.record<Turn>({
    waitMs: waits,
    draft: fc.oneof(...acceptingCommands, ...attemptCommands, ...nodeCommands),
    twice: fc.nat({ max: 3 }).map(n => n === 3),
    late: fc.oneof({ weight: 12, arbitrary: fc.constant(undefined) }, { weight: 1, arbitrary: fc.nat({ max: 5 }) })
  }),
  { minLength: 1, maxLength: 60, size: 'max' }
)

const beginMs = 1_700_000_000_000

/** A ledger and its model side by side: every call is made to both, the answers and everything stored must be equal. */
export class Pair {
  readonly #held: HeldLedger
  readonly #onAnswer: (command: string, answer: unknown) => void
  readonly #sent: Call[] = []
  readonly #told: string[] = []
  #model: LedgerModel
  #nowMs = beginMs
  #fresh = 0

  constructor(held: HeldLedger, onAnswer: (command: string, answer: unknown) => void) {
    this.#held = held
    this.#onAnswer = onAnswer
    this.#model = emptyModel(held.ledger.limits)
  }

  /** Begins with three nodes. Throws at the first difference, with everything that was done up to it. */
  async play(all: readonly Turn[]): Promise<void> {
    try {
      await this.#held.setTime(this.#nowMs)
      for (const node of ['n1', 'n2', 'n3']) await this.#call(registration(node, 'e1', `http://${node}`, 'ready'))
      for (const turn of all) await this.#take(turn)
    } catch (error) {
      throw new Error(`${this.#told.join('\n')}\n${error instanceof Error ? error.message : error}`, { cause: error })
    }
  }

  async #take({ waitMs, draft, twice, late }: Turn): Promise<void> {
    await this.#wait(waitMs)
    if (late !== undefined) return this.#late(late)
    this.#fresh += 1
    for (const call of draft({ model: this.#model, nowMs: this.#nowMs, fresh: this.#fresh })) {
      const answer = await this.#call(call)
      this.#sent.push(call)
      if (twice && call.again !== 'anything') await this.#repeat(call, call.again ? call.again(answer) : answer)
    }
  }

  async #wait(ms: number): Promise<void> {
    if (ms === 0) return
    this.#nowMs += ms
    this.#told.push(`${ms} ms pass`)
    await this.#held.setTime(this.#nowMs)
  }

  async #late(nth: number): Promise<void> {
    const call = this.#sent.at(-1 - nth)
    if (call) await this.#call(call, 'late again: ')
  }

  /** A command that the client sends again because the reply was lost changes nothing more. */
  async #repeat(call: Call, expected: unknown): Promise<void> {
    const { limits } = this.#held.ledger
    const before = expectedDump(this.#model, limits, this.#nowMs)
    deepStrictEqual(await this.#call(call, 'again: '), expected, 'the answer to the same again')
    deepStrictEqual(expectedDump(this.#model, limits, this.#nowMs), before, 'what the same again has changed')
  }

  async #call(call: Call, how = ''): Promise<unknown> {
    this.#told.push(how + call.text)
    const { answer, after } = call.model(this.#model, this.#nowMs)
    const said = await call.real(this.#held.ledger)
    this.#told.push(`   → ${JSON.stringify(said)}`)
    deepStrictEqual(said, answer, 'the answer')
    expectLegal(this.#model, after)
    this.#model = after
    const { limits, prefix } = this.#held.ledger
    const stored = await readDump(this.#held.redis, prefix, limits, this.#nowMs)
    deepStrictEqual(stored, expectedDump(after, limits, this.#nowMs), 'what is stored')
    this.#onAnswer(call.text.split(' ', 1)[0]!, said)
    return said
  }
}

/** One command may make several steps, but no task leaves its end, and versions and attempts only rise. */
const expectLegal = (before: LedgerModel, after: LedgerModel): void => {
  for (const [id, task] of before.tasks) {
    const next = after.tasks.get(id)
    if (!next) throw new Error(`${id} is lost`)
    const steps = transitions[task.state].flatMap(state => [state, ...transitions[state]])
    if (next.state !== task.state && !steps.includes(next.state))
      throw new Error(`${id}: ${task.state} → ${next.state}`)
    if (next.version < task.version || next.attempt < task.attempt) throw new Error(`${id} went back`)
  }
}

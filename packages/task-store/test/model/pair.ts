import { deepStrictEqual } from 'node:assert/strict'
import { emptyModel, type LedgerModel } from '@comfy-balancer/domain/ledger-model/model'
import { transitions } from '@comfy-balancer/domain/task-state'
import fc from 'fast-check'
import type { HeldLedger } from '../../src/scratch-ledger.ts'
import { acceptingCommands } from './accepting-commands.ts'
import { attemptCommands } from './attempt-commands.ts'
import type { Call, Draft } from './command.ts'
import { type Dump, expectedDump, readDump } from './dump.ts'
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

/** A call that was sent to the ledger, with what the model says of it. */
type Exchange = {
  readonly text: string
  readonly command: string
  readonly said: Promise<unknown>
  readonly stored: Promise<Dump>
  readonly answer: unknown
  readonly expected: Dump
}

/** Told of every answer; `loaded` are the commands whose scripts Redis has already. */
export type Witness = { readonly answered: (command: string, answer: unknown) => void; readonly loaded: Set<string> }

/**
 * A ledger and its model side by side: every call is made to both, the answers and everything stored must be equal. What is called depends
 * on the model alone, so a sequence is sent without waiting for answers, on one connection that keeps the order.
 */
export class Pair {
  readonly #held: HeldLedger
  readonly #witness: Witness
  readonly #sent: Call[] = []
  readonly #exchanges: Exchange[] = []
  #model: LedgerModel
  #nowMs = beginMs
  #passedMs = 0
  #fresh = 0

  constructor(held: HeldLedger, witness: Witness) {
    this.#held = held
    this.#witness = witness
    this.#model = emptyModel(held.ledger.limits)
  }

  /** Begins with three nodes. Throws at the first difference, with everything that was done up to it. */
  async play(all: readonly Turn[]): Promise<void> {
    await this.#held.setTime(this.#nowMs)
    for (const node of ['n1', 'n2', 'n3']) await this.#call(registration(node, 'e1', `http://${node}`, 'ready'))
    for (const turn of all) await this.#take(turn)
    await Promise.allSettled(this.#exchanges.flatMap(({ said, stored }) => [said, stored]))
    const told: string[] = []
    try {
      for (const exchange of this.#exchanges) await this.#compare(exchange, told)
    } catch (error) {
      throw new Error(`${told.join('\n')}\n${error instanceof Error ? error.message : error}`, { cause: error })
    }
  }

  async #take({ waitMs, draft, twice, late }: Turn): Promise<void> {
    this.#wait(waitMs)
    if (late !== undefined) return this.#late(late)
    this.#fresh += 1
    for (const call of draft({ model: this.#model, nowMs: this.#nowMs, fresh: this.#fresh })) {
      const answer = await this.#call(call)
      this.#sent.push(call)
      if (twice && call.again !== 'anything') await this.#repeat(call, call.again ? call.again(answer) : answer)
    }
  }

  #wait(ms: number): void {
    if (ms === 0) return
    this.#nowMs += ms
    this.#passedMs += ms
    this.#held.setTime(this.#nowMs).catch(() => undefined)
  }

  async #late(nth: number): Promise<void> {
    const call = this.#sent.at(-1 - nth)
    if (call) await this.#call(call, 'late again: ')
  }

  /** A command that the client sends again because the reply was lost changes nothing more. */
  async #repeat(call: Call, expected: unknown): Promise<void> {
    const { limits } = this.#held.ledger
    const before = expectedDump(this.#model, limits, this.#nowMs)
    deepStrictEqual(await this.#call(call, 'again: '), expected, `the answer to the same again: ${call.text}`)
    const after = expectedDump(this.#model, limits, this.#nowMs)
    deepStrictEqual(after, before, `what the same again has changed: ${call.text}`)
  }

  /** Sends a call and answers what the model says. The first of a script is waited for: sent by an unknown digest, it is sent again. */
  async #call(call: Call, how = ''): Promise<unknown> {
    const { answer, after } = call.model(this.#model, this.#nowMs)
    expectLegal(this.#model, after)
    this.#model = after
    const { redis, ledger } = this.#held
    const command = call.text.split(' ', 1)[0]!
    const said = call.real(ledger)
    if (!this.#witness.loaded.has(command)) await said.catch(() => undefined)
    this.#witness.loaded.add(command)
    const stored = readDump(redis, ledger.prefix, ledger.limits, this.#nowMs)
    for (const sent of [said, stored]) sent.catch(() => undefined)
    const expected = expectedDump(after, ledger.limits, this.#nowMs)
    const text = `${this.#passedMs > 0 ? `${this.#passedMs} ms pass\n` : ''}${how}${call.text}`
    this.#exchanges.push({ text, command, said, stored, answer, expected })
    this.#passedMs = 0
    return answer
  }

  async #compare({ text, command, said, stored, answer, expected }: Exchange, told: string[]): Promise<void> {
    told.push(text)
    const heard = await said
    told.push(`   → ${JSON.stringify(heard)}`)
    deepStrictEqual(heard, answer, 'the answer')
    deepStrictEqual(await stored, expected, 'what is stored')
    this.#witness.answered(command, heard)
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

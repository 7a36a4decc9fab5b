import type { Client } from '@comfy-balancer/client/client'
import type { TaskEvent } from '@comfy-balancer/contract/event'
import type { Node } from '@comfy-balancer/contract/node'
import { advance, drawBoard, type Row } from './demo-board.ts'
import { savePicture } from './demo-pictures.ts'
import type { DemoRequest } from './demo-requests.ts'
import type { Fleet } from './fleet.ts'
import type { createScreen } from './screen.ts'

/**
 * What came out of a run. After the kill, `recoveredSeconds` passed until its task was back in the queue, and `runningSeconds` until it ran
 * again, which may have to wait for a free GPU; they are missing when that was not seen.
 */
export type DemoResult = {
  readonly pictures: number
  readonly lost: number
  readonly seconds: string
  readonly killedNode?: string
  readonly recoveredSeconds?: string
  readonly runningSeconds?: string
}

type Deps = { readonly client: Client; readonly fleet: Fleet; readonly screen: ReturnType<typeof createScreen> }
type Kill = { readonly node: string; readonly row: number; readonly attempt: number; readonly atMs: number }

const withinMs = 300_000
const drawMs = 100
const nodesMs = 500
const finishedBeforeKill = 3
const nodesAtWork = 3

/** One run of the demo: rows follow the events of their tasks, and in the middle a node dies by our hand. */
export class DemoRun {
  readonly #requests: readonly DemoRequest[]
  readonly #deps: Deps
  readonly #rows: Row[]
  readonly #notes: string[] = []
  readonly #startedMs = performance.now()
  #nodes: readonly Node[] = []
  #kill: Kill | undefined
  #recovered: string | undefined
  #running: string | undefined

  constructor(requests: readonly DemoRequest[], deps: Deps) {
    this.#requests = requests
    this.#deps = deps
    this.#rows = requests.map(({ name, model }) => ({
      ...{ label: name, model, state: 'queued', percent: 0, node: null, attempt: 0 }
    }))
  }

  /** Posts all workflows, follows them to their ends (at most five minutes) and saves the pictures. */
  async run(): Promise<DemoResult> {
    const { client } = this.#deps
    const timers = [setInterval(() => this.#draw(), drawMs), setInterval(() => this.#look(), nodesMs)]
    try {
      const tasks = await Promise.all(this.#requests.map(({ body }) => client.generate(body)))
      const signal = AbortSignal.timeout(withinMs)
      await Promise.allSettled(tasks.map(({ id }, row) => this.#follow(row, id, signal)))
      await this.#look()
      const seconds = this.#seconds()
      const saved = await Promise.all(tasks.map(({ id }, row) => savePicture(client, id, this.#fileName(row))))
      return this.#result(saved.filter(Boolean).length, seconds)
    } finally {
      for (const timer of timers) clearInterval(timer)
      this.#draw()
    }
  }

  async #follow(index: number, id: string, signal: AbortSignal): Promise<void> {
    for await (const event of this.#deps.client.watch(id, { signal })) {
      this.#advance(index, event)
      this.#noticeRecovery(index)
      this.#killOnce()
    }
  }

  #advance(index: number, event: TaskEvent): void {
    const before = this.#rows[index]!
    const after = advance(before, event)
    this.#rows[index] = after
    if (before.state === after.state && before.attempt === after.attempt) return
    const place = after.state === 'running' ? ` on ${after.node}, attempt ${after.attempt}` : ''
    this.#message(`${String(index + 1).padStart(2)} ${after.label}, ${after.model}: ${after.state}${place}`)
  }

  #killOnce(): void {
    const finished = this.#rows.filter(({ state }) => state === 'succeeded').length
    const running = this.#rows.filter(({ state }) => state === 'running').length
    if (this.#kill || finished < finishedBeforeKill || running < nodesAtWork) return
    const row = this.#rows.findIndex(({ state, percent }) => state === 'running' && percent >= 10 && percent <= 70)
    const node = this.#deps.fleet.nodes.find(({ id }) => id === this.#rows[row]?.node)
    if (!node) return
    node.service.kill('SIGKILL')
    node.simulator?.kill('SIGKILL')
    this.#kill = { node: node.id, row, attempt: this.#rows[row]!.attempt, atMs: performance.now() }
    this.#note(`kill -9 of ${node.id} and of its ComfyUI while they ran ${row + 1} ${this.#rows[row]!.label}`)
  }

  #noticeRecovery(index: number): void {
    const row = this.#rows[index]!
    const kill = this.#kill
    if (!kill || this.#running || kill.row !== index) return
    const seconds = ((performance.now() - kill.atMs) / 1000).toFixed(1)
    if (row.state === 'queued' && !this.#recovered) {
      this.#recovered = seconds
      this.#note(`recovered in ${seconds} s: ${index + 1} ${row.label} is back in the queue`)
    }
    if (row.state !== 'running' || row.attempt <= kill.attempt) return
    this.#recovered ??= seconds
    this.#running = seconds
    this.#note(`after ${seconds} s a GPU is free: ${index + 1} ${row.label} runs on ${row.node}`)
  }

  async #look(): Promise<void> {
    this.#nodes = await this.#deps.client.nodes().catch(() => this.#nodes)
  }

  #draw(): void {
    const { screen } = this.#deps
    const nodes = this.#nodes.toSorted((a, b) => a.id.localeCompare(b.id))
    screen.draw(drawBoard(this.#rows, nodes, [...this.#notes, `${this.#seconds()} s`], screen.columns()))
  }

  #note(text: string): void {
    this.#notes.push(text)
    this.#message(text)
  }

  #message(text: string): void {
    this.#deps.screen.message(`${this.#seconds().padStart(5)} s  ${text}`)
  }

  #seconds(): string {
    return ((performance.now() - this.#startedMs) / 1000).toFixed(1)
  }

  #fileName(index: number): string {
    const { label, model } = this.#rows[index]!
    return `${String(index + 1).padStart(2, '0')}-${label}-${model.replace(/\.[a-z]+$/, '')}`
  }

  #result(pictures: number, seconds: string): DemoResult {
    return {
      pictures,
      lost: this.#requests.length - pictures,
      seconds,
      ...(this.#kill ? { killedNode: this.#kill.node } : {}),
      ...(this.#recovered ? { recoveredSeconds: this.#recovered } : {}),
      ...(this.#running ? { runningSeconds: this.#running } : {})
    }
  }
}

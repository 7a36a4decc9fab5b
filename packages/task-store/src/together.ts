import type { ChainableCommander } from 'ioredis'

/** Sends commands as one message. Rejects with the first error among their answers. */
export const together = async <T extends unknown[]>(pipeline: ChainableCommander): Promise<T> => {
  const answers = (await pipeline.exec()) ?? []
  for (const [error] of answers) if (error) throw error
  return answers.map(([, answer]) => answer) as T
}

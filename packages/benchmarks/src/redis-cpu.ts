import type { Redis } from 'ioredis'

/** The CPU time that Redis' main thread has used so far, in ms. */
export const redisCpuMs = async (redis: Redis): Promise<number> => {
  const info = await redis.info('cpu')
  const value = (name: string) => Number(new RegExp(`^${name}:([\\d.]+)`, 'm').exec(info)?.[1] ?? Number.NaN)
  return (value('used_cpu_user_main_thread') + value('used_cpu_sys_main_thread')) * 1_000
}

namespace Ublk.Uring;

/// <summary>
/// Asks again and again, for what the system tells nobody when it happens: a node that appears, a process
/// that is entirely gone. Not on a loop's thread.
/// </summary>
public static class Polling
{
    /// <summary>
    /// Time between two questions: each costs a system call or a post to a loop, and people wait for some.
    /// </summary>
    public static readonly TimeSpan Interval = TimeSpan.FromMilliseconds(5);

    /// <summary>Asks until the answer is final or the time is over, at least once.</summary>
    /// <typeparam name="T">Answer.</typeparam>
    /// <param name="ask">The question; what it throws ends the polling.</param>
    /// <param name="isPending">Whether the answer may change by waiting.</param>
    /// <param name="limit">Longest time.</param>
    /// <param name="time">Clock.</param>
    /// <returns>The last answer, still pending when the time was over.</returns>
    public static async Task<T> AskAsync<T>(
        Func<Task<T>> ask, Func<T, bool> isPending, TimeSpan limit, TimeProvider time)
    {
        long start = time.GetTimestamp();
        while (true)
        {
            T answer = await ask().ConfigureAwait(false);
            if (!isPending(answer) || time.GetElapsedTime(start) > limit)
            {
                return answer;
            }

            await Task.Delay(Interval, time).ConfigureAwait(false);
        }
    }

    /// <summary>As the other, for a question that is answered at once.</summary>
    /// <typeparam name="T">Answer.</typeparam>
    /// <param name="ask">The question; what it throws ends the polling.</param>
    /// <param name="isPending">Whether the answer may change by waiting.</param>
    /// <param name="limit">Longest time.</param>
    /// <param name="time">Clock.</param>
    /// <returns>The last answer, still pending when the time was over.</returns>
    public static Task<T> AskAsync<T>(
        Func<T> ask, Func<T, bool> isPending, TimeSpan limit, TimeProvider time) =>
        AskAsync(() => Task.FromResult(ask()), isPending, limit, time);
}

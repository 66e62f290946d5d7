// Adds up the numbers from 1 to N, one every PAUSE seconds, and writes the sum to OUTPUT.
// With `datalad slurm-schedule --checkpoint OUTPUT.state` it goes on where it was interrupted.
//     g++ -O2 -o count count.cpp

#include <chrono>
#include <csignal>
#include <cstdio>
#include <fstream>
#include <iostream>
#include <string>
#include <thread>

namespace {

// A handler may do little more than to set what the loop looks at.
volatile std::sig_atomic_t is_wanted = 0;
volatile std::sig_atomic_t is_over = 0;

void handle(int number) { (number == SIGTERM ? is_over : is_wanted) = 1; }

// A rename replaces the state at once: there is a whole one at any time.
void save(const std::string& state, long number, long sum) {
    std::ofstream(state + ".new") << number << ' ' << sum;
    std::rename((state + ".new").c_str(), state.c_str());
}

}  // namespace

int main(int argc, char* argv[]) {
    if (argc != 4) {
        std::cerr << "usage: count N PAUSE OUTPUT\n";
        return 2;
    }
    const long last = std::stol(argv[1]);
    const std::chrono::duration<double> pause(std::stod(argv[2]));
    const std::string output = argv[3];
    const std::string state = output + ".state";
    std::signal(SIGUSR1, handle);
    std::signal(SIGTERM, handle);
    long number = 0, sum = 0;
    std::ifstream(state) >> number >> sum;
    std::cout << "from " << number << std::endl;
    while (number < last) {
        std::this_thread::sleep_for(pause);
        ++number;
        sum += number;
        if (is_wanted || is_over) save(state, number, sum);
        if (is_over) return 0;
        is_wanted = 0;
    }
    std::ofstream(output) << sum << '\n';
}
